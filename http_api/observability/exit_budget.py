"""The time that the process spends on flushing traces and logs to their collectors when it exits."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 2.0
KEPT_FOR_LOGS = 0.5
"""The part of the budget that flushing traces leaves for logs. Logs go last, because they report what happened to the
traces."""
INTERRUPTED = 0.2
"""The seconds left after an interrupt by the operator."""


class ExitBudget:
    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until: float | None = None

    def left(self, *, kept: float = 0.0) -> float:
        """The seconds left, minus `kept`. The budget starts with the first call."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        return max(0.0, self._until - now - kept)

    def cut(self) -> None:
        """Reduce what is left to INTERRUPTED seconds at most."""
        self._until = self._clock() + min(INTERRUPTED, self.left())
