"""Makes a failing history shorter: takes faults and sessions away, and time from faults, while it still fails alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.simulation.history import History, SimulatedFault
from tests.simulation.invariants import Invariant, InvariantViolation
from tests.simulation.world import World

BEFORE = 130.0
"""Seconds before a violation from which on a history matters to it, as a first guess."""
RUNS_MAX = 400

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class ShortHistory:
    history: History
    violation: InvariantViolation
    runs: int
    """How many histories were tried."""


def shrunk(history: History, violation: InvariantViolation, *, runs_max: int = RUNS_MAX) -> ShortHistory:
    """A short history that violates the same invariant. `violation`: the first one of `history`."""
    return _Shrinking(history, violation, runs_max).run()


def first_violation(history: History, invariant: Invariant | None = None) -> InvariantViolation | None:
    """The first violation of this invariant, or of any."""
    found = World(history, stops_at_first=invariant is None).run().violations
    return next((one for one in found if invariant in (None, one.invariant)), None)


class _Shrinking:
    def __init__(self, history: History, violation: InvariantViolation, runs_max: int) -> None:
        self._history, self._violation, self._runs_max = history, violation, runs_max
        self._runs = 0

    def run(self) -> ShortHistory:
        self._try(self._cut_to_what_is_near())
        before = None
        while before != self._history and self._runs < self._runs_max:
            before = self._history
            self._without(lambda: self._history.faults, lambda left: replace(self._history, faults=left))
            self._without(lambda: self._history.sessions, lambda left: replace(self._history, sessions=left))
            self._with_shorter_faults()
            self._with_fewer_nodes()
        return ShortHistory(self._history, self._violation, self._runs)

    def _try(self, history: History) -> bool:
        """Keep the shorter history if it fails alike."""
        if self._runs >= self._runs_max or history == self._history:
            return False
        self._runs += 1
        found = first_violation(history, self._violation.invariant)
        if found is None:
            return False
        self._history, self._violation = history, found
        return True

    def _cut_to_what_is_near(self) -> History:
        near = range(int(self._violation.at - BEFORE), int(self._violation.at + 1.0))
        return replace(
            self._history,
            sessions=tuple(one for one in self._history.sessions if int(one.at) in near),
            faults=tuple(one for one in self._history.faults if int(one.at) in near),
        )

    def _without(self, parts: Callable[[], Sequence[Part]], with_parts: Callable[[tuple[Part, ...]], History]) -> None:
        """Take parts away, first many at once, in the end one by one."""
        size = max(1, len(parts()) // 2)
        while True:
            start = 0
            while start < len(parts()):
                left = (*parts()[:start], *parts()[start + size :])
                if not self._try(with_parts(left)):
                    start += size
            if size == 1:
                return
            size //= 2

    def _with_shorter_faults(self) -> None:
        for nth in range(len(self._history.faults)):
            fault = self._history.faults[nth]
            for seconds in (fault.seconds / 4, fault.seconds / 2):
                if self._try(self._with_fault(nth, replace(fault, seconds=round(seconds, 3)))):
                    break

    def _with_fault(self, nth: int, fault: SimulatedFault) -> History:
        faults = self._history.faults
        return replace(self._history, faults=(*faults[:nth], fault, *faults[nth + 1 :]))

    def _with_fewer_nodes(self) -> None:
        while self._history.nodes > 2 and self._try(replace(self._history, nodes=self._history.nodes - 1)):
            pass
