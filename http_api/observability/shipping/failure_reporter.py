"""When somebody is told that logs are not shipped, and that they are again. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from http_api.observability.shipping.batch import Dropped

QUIET = 60.0
"""Seconds from one warning to the next."""


class Tell(StrEnum):
    WARNING = "warning"
    ALL_CLEAR = "all_clear"


@dataclass(frozen=True, slots=True)
class Report:
    tell: Tell
    dropped: Mapping[Dropped, int]
    """How many records, since the last report; reasons for which there were none are left out."""


class FailureReporter:
    def __init__(self) -> None:
        self._warned_at: float | None = None
        self._is_open = False
        """There was a warning, and no all-clear yet."""
        self._seen: Mapping[Dropped, int] = dict.fromkeys(Dropped, 0)
        self._reported: Mapping[Dropped, int] = self._seen

    def look(self, *, now: float, is_failing: bool, dropped: Mapping[Dropped, int]) -> Report | None:
        """What is to be said, if anything, after a try. `dropped`: in all, by reason. `now`: of a monotonic clock."""
        is_well = not is_failing and dropped == self._seen
        self._seen = dropped
        if is_well:
            return self._report(Tell.ALL_CLEAR) if self._is_open else None
        if self._warned_at is not None and now < self._warned_at + QUIET:
            return None
        self._warned_at = now
        return self._report(Tell.WARNING)

    def _report(self, tell: Tell) -> Report:
        new = {reason: number - self._reported[reason] for reason, number in self._seen.items()}
        self._reported, self._is_open = self._seen, tell is Tell.WARNING
        return Report(tell, {reason: number for reason, number in new.items() if number})
