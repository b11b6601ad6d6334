"""How long the process still waits for collectors when it ends: for those of traces and of logs together."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 2.0
KEPT_FOR_LOGS = 0.5
"""Of them, what traces leave: what became of these is in the log, and that goes last."""
INTERRUPTED = 0.2
"""Seconds once somebody has lost patience."""


class ExitBudget:
    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until: float | None = None

    def left(self, *, kept: float = 0.0) -> float:
        """Seconds, without those that are to be kept. They run from when this was first asked."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        return max(0.0, self._until - now - kept)

    def cut(self) -> None:
        """To what is hardly noticed."""
        self._until = self._clock() + min(INTERRUPTED, self.left())
