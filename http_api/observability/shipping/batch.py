"""Batches of log records, the bounds of the backlog, and its counts. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MiB = 1024 * 1024


class Dropped(StrEnum):
    """Why a record was dropped."""

    OVERFLOW = "overflow"
    """The backlog was full, and newer records replaced it."""
    TOO_LARGE = "too_large"
    """It is larger than a whole batch may be."""
    REFUSED = "refused"
    """The collector refused it."""
    AT_EXIT = "at_exit"
    """The process exited first."""


@dataclass(frozen=True, slots=True)
class Bounds:
    records: int = 10_000
    bytes: int = 8 * MiB
    batch_records: int = 500
    batch_bytes: int = 1 * MiB
    linger: float = 1.0
    """Seconds that a record waits for others to fill its batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order in which they were logged, each a line of JSON. Never empty."""

    lines: tuple[bytes, ...] = field(repr=False)
    end: int
    """Identifies the batch: the same for every try."""

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the start of the process, and what is queued now."""

    queued_records: int = 0
    queued_bytes: int = 0
    delivered: int = 0
    dropped: Mapping[Dropped, int] = field(default_factory=lambda: dict.fromkeys(Dropped, 0))
    """Has every reason, also those with no dropped records."""
    batches: int = 0
    """Batches started. The halves of a refused batch are not counted separately."""
    tries: int = 0
    """Batches and halves taken for sending."""
