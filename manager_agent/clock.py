"""The process's clock: the wall clock read once, plus monotonic time since.

Its instants can be stored and shown, and adjustments of the wall clock expire nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from manager_agent.clock_origin import ClockOrigin

Clock = Callable[[], float]
"""Returns the current instant in seconds since the epoch."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux: a random id that all processes share until the machine starts again, like its monotonic time."""


class SteadyClock:
    """A Clock that no adjustment of the wall clock changes."""

    def __init__(self, boot_id: str | None = None) -> None:
        """`boot_id`: of this machine; None: as Linux says."""
        self._start = time.time() - time.monotonic()
        self.origin = _origin(self._start, _boot_id() if boot_id is None else boot_id)
        """None where monotonic times of different processes can't be compared."""

    def __call__(self) -> float:
        return self._start + time.monotonic()


def _origin(start: float, boot_id: str) -> ClockOrigin | None:
    """The start of a clock, shifted by a number that only processes of this machine know: it is kept where others can
    read it, and when this machine was started is not for them."""
    if not boot_id:
        return None
    digest = hashlib.sha256(boot_id.encode()).digest()
    return ClockOrigin(digest[:6].hex(), start + int.from_bytes(digest[6:10]))


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
