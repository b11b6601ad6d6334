"""Log what native code writes to stderr: the logs of LiveKit's SDK and WebRTC, and panic messages.

Native code writes to file descriptor 2 and bypasses Python's logging. Within `captured`, that descriptor is a pipe that
a thread reads, and Python's own stderr still goes to the original stream. What native code writes just before it aborts
the process is lost with the thread; faulthandler shows where it happened.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

STDERR = 2
LINE = re.compile(r"\[\S+ (?P<level>TRACE|DEBUG|INFO|WARN|ERROR) +(?P<target>\S+)\] (?P<message>.*)", re.DOTALL)
"""A line of Rust's env_logger, the SDK's log format: `[2026-01-31T12:00:00Z WARN  livekit::room] left`."""
LEVELS = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}
SDK, OTHERS = logging.getLogger("livekit.native"), logging.getLogger("native")
CHUNK = 64 * 1024
LINE_MAX = 16 * 1024
"""Bytes. A longer line is split."""
STOP_TIMEOUT = 1.0


@contextmanager
def captured() -> Iterator[TextIO]:
    """Capture native output within the block. Yields the original stderr, which the log should be written to; it stays
    open afterwards. If the process was started without stderr, nothing is captured and the yielded stream discards all
    output."""
    before = sys.stderr
    if before is None:
        yield open(os.devnull, "w")  # noqa: SIM115 - as below
        return
    before.flush()
    real = open(os.dup(STDERR), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    reading, writing = os.pipe()
    knew_faults = faulthandler.is_enabled()
    reader = threading.Thread(target=_read, args=(reading,), name="native log", daemon=True)
    try:
        os.dup2(writing, STDERR)
        os.close(writing)
        sys.stderr = real
        faulthandler.enable(real)  # a fatal error's traceback would be lost in the pipe
        reader.start()
        yield real
    finally:
        os.dup2(real.fileno(), STDERR)  # closes the last write end, so the reader reaches the end
        reader.join(STOP_TIMEOUT)
        faulthandler.enable(STDERR) if knew_faults else faulthandler.disable()
        sys.stderr = before


def _read(reading: int) -> None:
    """Log every line until all write ends are closed."""
    rest = b""
    while chunk := os.read(reading, CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_MAX:
            lines, rest = [*lines, rest], b""
        for line in lines:
            take(line.decode(errors="backslashreplace"))
    if rest:
        take(rest.decode(errors="backslashreplace"))
    os.close(reading)


def take(line: str) -> None:
    """Log one line: an SDK line with its own level, any other as a warning, because output on stderr is unexpected."""
    parsed = LINE.fullmatch(line)
    if parsed is not None:
        SDK.log(LEVELS[parsed["level"]], "%s", parsed["message"], extra={"target": parsed["target"]})
    elif line.strip():
        OTHERS.warning("%s", line)
