"""What native code writes to stderr, as log entries: the log of LiveKit's SDK, WebRTC's, what a panic says.

Native code writes to file descriptor 2 and knows nothing of Python's logging. While `captured` lasts, that descriptor
is a pipe which a thread of ours reads, and whatever Python itself writes to stderr goes where it went before. What
native code says in the very moment in which it aborts the process dies with the thread; faulthandler says where it was.
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
"""A line of Rust's env_logger, in which the SDK logs: `[2026-01-31T12:00:00Z WARN  livekit::room] left`."""
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
"""Bytes; a longer line becomes several."""
STOP_TIMEOUT = 1.0


@contextmanager
def captured() -> Iterator[TextIO]:
    """Yields the stderr of before, for the log itself to go to; it stays open afterwards. A process that was started
    without one has nothing to capture, and its log goes nowhere."""
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
        faulthandler.enable(real)  # what kills the process at once would be lost in the pipe
        reader.start()
        yield real
    finally:
        os.dup2(real.fileno(), STDERR)  # closes the last writing end: the reader comes to the end
        reader.join(STOP_TIMEOUT)
        faulthandler.enable(STDERR) if knew_faults else faulthandler.disable()
        sys.stderr = before


def _read(reading: int) -> None:
    """Logs every line until nobody can write any more."""
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
    """Logs one line: the SDK's under its own level, any other as a warning, as nobody writes to stderr for fun."""
    said = LINE.fullmatch(line)
    if said is not None:
        SDK.log(LEVELS[said["level"]], "%s", said["message"], extra={"target": said["target"]})
    elif line.strip():
        OTHERS.warning("%s", line)
