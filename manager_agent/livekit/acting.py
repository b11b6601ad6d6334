"""Which process of a deployment acts: the newest one. PURE.

All processes of a deployment read and write one register (acting_process.py keeps it in LiveKit). It has the turn of
the process that acts; a later turn is greater. A process that finds a greater turn than its own has been superseded,
for good; one that finds a smaller turn or none writes its own. There is no compare-and-set, and none is needed: a
process may act only for a moment (LEASE) after it has found its own turn there, and one that found another's waits for
that moment to pass first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

LEASE = 1.5
"""Seconds for which a process may act after it asked what the register has and found its own turn."""


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    number: int
    """Greater than that of every turn known when it was taken; usually the wall clock in milliseconds."""
    process: str
    """Decides between two processes that took the same number."""

    @property
    def text(self) -> str:
        """As the register and the records have it. The text of a greater turn is greater."""
        return f"{self.number:020d} {self.process}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None if the text is not a turn."""
        number, _, process = text.partition(" ")
        return cls(int(number), process) if number.isascii() and number.isdecimal() and process else None


@dataclass(frozen=True, slots=True)
class Acting:
    """What one process knows about who acts. All instants are of its monotonic clock, in seconds."""

    process: str
    turn: Turn | None = None
    """Its own, taken when it first reads the register."""
    must_write: bool = False
    """Whether the register lacks its turn."""
    waits: bool = False
    """Whether it has found the turn of another process, which may still act, and not its own since."""
    acts_from: float = -math.inf
    confirmed_at: float = -math.inf
    """When it last asked and found its own turn."""
    superseded_by: Turn | None = None

    def polled(self, found: Turn | None, *, asked_at: float, answered_at: float, wall_clock: float) -> Acting:
        """The register had this turn, or none, at some instant between the two."""
        if self.superseded_by is not None:
            return self
        if self.turn is None:
            number = max(int(wall_clock * 1000), 0 if found is None else found.number + 1)
            return replace(self, turn=Turn(number, self.process), must_write=True, waits=found is not None)
        if found == self.turn:
            acts_from = answered_at + LEASE if self.waits else self.acts_from
            return replace(self, must_write=False, waits=False, acts_from=acts_from, confirmed_at=asked_at)
        if found is None:
            return replace(self, must_write=True)
        if found > self.turn:
            return replace(self, must_write=False, superseded_by=found)
        return replace(self, must_write=True, waits=True)

    def may_act(self, now: float) -> bool:
        if self.superseded_by is not None or self.waits:
            return False
        return self.acts_from <= now < self.confirmed_at + LEASE
