"""Which process of a deployment acts: the newest one. PURE.

All processes of a deployment read and write one register (acting_process.py keeps it in LiveKit). It has the turn of
the process that acts; a later turn is greater. A process that finds a greater turn than its own has been superseded,
for good; one that finds a smaller turn or none writes its own. There is no compare-and-set, and none is needed: a
process may act only for a moment (its lease) after it has found its own turn there, and one that found another's waits
for that moment to pass first. The turn says how long the lease is, as it is longer if LiveKit answers slowly.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Self

LEASE, LEASE_MAX = 1.5, 8.0
"""Seconds for which a process may act after it asked what the register has and found its own turn."""
INTERVAL = 0.5
"""Seconds between two reads of the register."""
JITTER = 1.5
"""How much longer than the quickest answer one may take. From one question to the answer of the next, two answers and
the interval have to pass within the lease."""
READS_MAX = 3
"""Reads before a process takes its turn, if all are answered slowly: one is slow while the process starts."""

TEXT = re.compile(r"(?P<number>[0-9]{20}) (?P<process>[^ ]+) (?P<lease>[0-9]\.[0-9]{3})(?P<released> released)?")


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    number: int
    """Greater than that of every turn known when it was taken; usually the wall clock in milliseconds."""
    process: str
    """Decides between two processes that took the same number. Contains no space."""
    lease: float = field(default=LEASE, compare=False)
    """Seconds, from LEASE to LEASE_MAX; of a released turn what the next process has to wait, mostly 0."""
    is_released: bool = field(default=False, compare=False)
    """Whether its process has stopped and never acts again."""

    @property
    def text(self) -> str:
        """As the register and the records have it. The text of a greater turn is greater."""
        return f"{self.number:020d} {self.process} {self.lease:.3f}" + (" released" if self.is_released else "")

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None if the text is not a turn."""
        match = TEXT.fullmatch(text)
        if match is None:
            return None
        lease, is_released = float(match["lease"]), match["released"] is not None
        if not (0 if is_released else LEASE) <= lease <= LEASE_MAX:
            return None
        return cls(int(match["number"]), match["process"], lease, is_released)


@dataclass(frozen=True, slots=True)
class Acting:
    """What one process knows about who acts. All instants are of its monotonic clock, in seconds."""

    process: str
    turn: Turn | None = None
    """Its own, taken when it has read the register."""
    reads: int = 0
    """Before it took its turn."""
    quickest: float = math.inf
    """Seconds for the quickest answer of those."""
    found: Turn | None = None
    """The greatest turn that is known: of those, and of the process that last wrote the records."""
    must_write: bool = False
    """Whether the register lacks its turn."""
    waits_for: float = 0.0
    """The lease of the other process whose turn it has found, and not its own since. 0: there is none."""
    acts_from: float = -math.inf
    confirmed_at: float = -math.inf
    """When it last asked and found its own turn."""
    superseded_by: Turn | None = None
    """The greatest turn that it has found since, if that is greater than its own."""

    @property
    def is_last_one_left(self) -> bool:
        """Whether it is superseded, and the process that superseded it has stopped."""
        return self.superseded_by is not None and self.superseded_by.is_released

    def polled(self, found: Turn | None, *, asked_at: float, answered_at: float, wall_clock: float) -> Acting:
        """The register had this turn, or none, at some instant between the two."""
        if self.superseded_by is not None:
            is_later = found is not None and found >= self.superseded_by
            return replace(self, superseded_by=found) if is_later else self
        if self.turn is None:
            read = replace(
                self,
                reads=self.reads + 1,
                quickest=min(self.quickest, answered_at - asked_at),
                found=max((one for one in (self.found, found) if one is not None), default=None),
                waits_for=max(self.waits_for, 0.0 if found is None else found.lease),
            )
            return read._take_turn(wall_clock)
        if found == self.turn:
            acts_from = answered_at + self.waits_for if self.waits_for else self.acts_from
            return replace(self, must_write=False, waits_for=0.0, acts_from=acts_from, confirmed_at=asked_at)
        if found is None:
            return replace(self, must_write=True)
        if found > self.turn:
            return replace(self, must_write=False, superseded_by=found)
        return replace(self, must_write=True, waits_for=max(self.waits_for, found.lease))

    def released(self, now: float) -> Turn:
        """Its turn, which it has taken, once it acts no more. The next process waits for as long as this one still had
        to wait for its predecessor."""
        assert self.turn is not None, "only a turn that was taken is released"
        return replace(self.turn, lease=self.waits_for or max(self.acts_from - now, 0.0), is_released=True)

    def may_act(self, now: float) -> bool:
        if self.turn is None or self.superseded_by is not None or self.waits_for:
            return False
        return self.acts_from <= now < self.confirmed_at + self.turn.lease

    def _take_turn(self, wall_clock: float) -> Acting:
        """The turn after those found, with a lease that fits how quick LiveKit is; or none yet, to read again."""
        lease = min(max(LEASE, INTERVAL + 2 * JITTER * self.quickest), LEASE_MAX)
        if lease > LEASE and self.reads < READS_MAX:
            return self
        number = max(int(wall_clock * 1000), 0 if self.found is None else self.found.number + 1)
        return replace(self, turn=Turn(number, self.process, lease), must_write=True)
