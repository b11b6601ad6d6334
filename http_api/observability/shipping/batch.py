"""Batches of log records, the bounds of what may wait, and the counts of what became of it. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MiB = 1024 * 1024


class Dropped(StrEnum):
    """Why a record has not arrived."""

    OVERFLOW = "overflow"
    """Newer ones needed its place."""
    TOO_LARGE = "too_large"
    """It alone is more than a batch may be."""
    REFUSED = "refused"
    """The collector can't read it, or does not want it."""
    GAVE_UP = "gave_up"
    """The collector has failed at its batch again and again."""
    AT_EXIT = "at_exit"
    """The process has ended."""


@dataclass(frozen=True, slots=True)
class Bounds:
    records: int = 10_000
    bytes: int = 8 * MiB
    batch_records: int = 500
    batch_bytes: int = 1 * MiB
    linger: float = 1.0
    """Seconds that a record waits for others to go with it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in the order in which they were logged, each a line of JSON. Never none."""

    lines: tuple[bytes, ...] = field(repr=False)
    end: int
    """The same for every try of a batch."""

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True, slots=True)
class Stats:
    """Since the start of the process, but for what is queued now."""

    queued_records: int = 0
    queued_bytes: int = 0
    delivered: int = 0
    dropped: Mapping[Dropped, int] = field(default_factory=lambda: dict.fromkeys(Dropped, 0))
    """Every reason, also those for which nothing was dropped."""
    batches: int = 0
    """That were begun. Halves of one that was refused are none of their own."""
    tries: int = 0
    """Batches and halves that were taken to be sent."""
