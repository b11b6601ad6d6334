"""Decide when to report that logs are not shipped, and when to report that they are shipped again. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from http_api.observability.shipping.batch import Dropped

QUIET = 60.0
"""Minimum seconds between two warnings."""


class ReportKind(StrEnum):
    WARNING = "warning"
    ALL_CLEAR = "all_clear"


@dataclass(frozen=True, slots=True)
class Report:
    kind: ReportKind
    dropped: Mapping[Dropped, int]
    """The number of records dropped since the last report, by reason; reasons with none are omitted."""


class FailureReporter:
    def __init__(self) -> None:
        self._warned_at: float | None = None
        self._is_open = False
        """Whether there was a warning and no all-clear since."""
        self._seen: Mapping[Dropped, int] = dict.fromkeys(Dropped, 0)
        self._reported: Mapping[Dropped, int] = self._seen

    def look(self, *, now: float, is_failing: bool, has_arrived: bool, dropped: Mapping[Dropped, int]) -> Report | None:
        """The report to make after a try, if any. `has_arrived`: the collector accepted the batch; nothing less is an
        all-clear. `dropped`: totals by reason. `now`: seconds of a monotonic clock."""
        is_well = not is_failing and dropped == self._seen
        self._seen = dropped
        if is_well:
            return self._report(ReportKind.ALL_CLEAR) if self._is_open and has_arrived else None
        if self._warned_at is not None and now < self._warned_at + QUIET:
            return None
        self._warned_at = now
        return self._report(ReportKind.WARNING)

    def _report(self, kind: ReportKind) -> Report:
        new = {reason: number - self._reported[reason] for reason, number in self._seen.items()}
        self._reported, self._is_open = self._seen, kind is ReportKind.WARNING
        return Report(kind, {reason: number for reason, number in new.items() if number})
