"""Whether each request is executed once, however often and wherever its client repeats it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from manager_agent.session.session import EndReason
from tests.simulation.invariants import Invariant
from tests.simulation.simulated_claims import SimulatedClaim

if TYPE_CHECKING:
    from tests.simulation.judge import Judge
    from tests.simulation.world import World


class RequestJudge:
    def __init__(self, world: World, judge: Judge) -> None:
        self._world, self._judge, self._heap = world, judge, world.heap
        self._kept: dict[str, tuple[SimulatedClaim, float]] = {}
        """The first response that was kept for each key: under which claim, and when."""
        self._replaced: set[int] = set()
        """The claims whose replicas counted as dead."""
        self._lost_at = -math.inf

    def has_lost(self) -> None:
        """Redis has come back without some claims and responses."""
        self._lost_at = self._heap.now

    def replaced(self, claim: SimulatedClaim) -> None:
        self._replaced.add(claim.number)

    def kept(self, claim: SimulatedClaim) -> None:
        """A response is kept. The one of a replica that was frozen meanwhile may be the second."""
        earlier, at = self._kept.setdefault(claim.key, (claim, self._heap.now))
        self._judge.digest("kept", claim.key)
        if earlier == claim or self._lost_at >= at or self._replaced & {earlier.number, claim.number}:
            return
        about = f"{claim.key}: by {earlier.replica_id} and by {claim.replica_id}"
        self._judge.violated(Invariant.EXECUTED_TWICE, about)

    def made(self, session_id: str) -> None:
        """A session is added, or put back."""
        truths, stored = self._judge.sessions, self._world.redis.sessions
        if truths[session_id].was_rolled_back:
            return
        for other in self._world.session_ids_beside(session_id):
            truth = truths.get(other)
            if truth is None or truth.was_rolled_back or truth.end is EndReason.ROOM_UNAVAILABLE:
                continue
            if other in stored or truth.acknowledged_at is not None:
                self._judge.violated(Invariant.EXECUTED_TWICE, f"{session_id} was made beside {other}")
