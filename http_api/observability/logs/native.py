"""Log what native code writes to stderr: the logs of LiveKit's SDK and WebRTC, and panic messages.

Native code writes to file descriptor 2 and bypasses Python's logging. After `capture()`, that descriptor is a pipe that
a thread reads, and Python's own stderr still goes to the original stream. What native code writes just before it aborts
the process is lost with the thread; faulthandler shows where it happened.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import math
import os
import re
import sys
import threading
import time
from collections import OrderedDict
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
ALIKE_INTERVAL = 60.0
"""Seconds between two warnings or errors of the SDK that are alike: any participant can cause thousands a second, such
as by acknowledging RPCs that were never made."""
ALIKE_MAX = 200
"""Kinds of lines that are remembered. Beyond it the one that was logged least recently is forgotten."""

_logged: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
"""By target and the message up to its first colon, where its data begins: when such a line was last logged, and how
many were not logged since."""


def capture() -> TextIO:
    """Capture native output until the interpreter exits. Returns the original stderr, which the log should be written
    to. If the process was started without stderr, nothing is captured and the returned stream discards all output.

    Call it before the SDK is loaded, which ends its threads at exit: until then they may log. Exit handlers run in
    reverse order."""
    before = sys.stderr
    if before is None:
        return open(os.devnull, "w")
    before.flush()
    real = open(os.dup(STDERR), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    reading, writing = os.pipe()
    os.dup2(writing, STDERR)
    os.close(writing)
    sys.stderr = real
    faulthandler.enable(real)  # a fatal error's traceback would be lost in the pipe
    reader = threading.Thread(target=_read, args=(reading,), name="native log", daemon=True)
    reader.start()

    def release() -> None:
        # Closes the last write end, so the reader reaches the end. Threads of the SDK that outlive it may still log:
        # raw lines would break a log of JSON.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
        reader.join(STOP_TIMEOUT)

    atexit.register(release)
    return real


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
    """Log one line: an SDK line with its own level, any other as a warning, because output on stderr is unexpected. Of
    warnings and errors of the SDK that are alike, one is logged in ALIKE_INTERVAL, with how many were not (`alike`)."""
    parsed = LINE.fullmatch(line)
    if parsed is not None:
        level, target, message = LEVELS[parsed["level"]], parsed["target"], parsed["message"]
        skipped = _skipped_before(target, message) if level >= logging.WARNING else 0
        if skipped is not None:
            SDK.log(level, "%s", message, extra={"target": target} | ({"alike": skipped} if skipped else {}))
    elif line.strip():
        OTHERS.warning("%s", line)


def _skipped_before(target: str, message: str) -> int | None:
    """How many lines like this one were not logged since the last that was; None if this one is not to be logged."""
    kind, now = (target, message.partition(":")[0]), time.monotonic()
    logged_at, skipped = _logged.get(kind, (-math.inf, 0))
    if now < logged_at + ALIKE_INTERVAL:
        _logged[kind] = logged_at, skipped + 1
        return None
    _logged[kind] = now, 0
    _logged.move_to_end(kind)
    if len(_logged) > ALIKE_MAX:
        _logged.popitem(last=False)
    return skipped
