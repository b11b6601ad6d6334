"""Whether each callback is told, once by those who know that it was, also if Redis loses it meanwhile."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.invariants import Invariant

if TYPE_CHECKING:
    from tests.simulation.judge import Judge, SessionTruth
    from tests.simulation.simulated_redis import CallbackRecord
    from tests.simulation.world import World

PUT_BACK_MAX = 30.0
"""Seconds within which replicas have put back what Redis has lost."""


@dataclass(eq=False, slots=True)
class RedisLoss:
    witnesses: set[str]
    """The replicas that still know what Redis had."""
    sessions: list[str] = field(default_factory=list)
    """Those that it came back without, or without the latest writes of them."""


class CallbackJudge:
    def __init__(self, world: World, judge: Judge) -> None:
        self._heap, self._judge = world.heap, judge
        self.count = 0
        self._losses: list[RedisLoss] = []
        """Those that replicas may not have made good yet."""
        self._told: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        """For each stored session, which replica knows of which revision that it was told."""

    # --- losses ---

    def redis_stops(self, witnesses: set[str]) -> None:
        """Whatever Redis loses, the witnesses know it."""
        self._losses.append(RedisLoss(witnesses.union(*(loss.witnesses for loss in self._losses))))

    def redis_is_back(self) -> None:
        for loss in self._losses:
            self._forgive_if_forgotten(loss)
        self._heap.after(PUT_BACK_MAX, self._is_made_good, list(self._losses))

    def _is_made_good(self, losses: list[RedisLoss]) -> None:
        self._losses = [loss for loss in self._losses if loss not in losses]

    def has_lost(self, session_id: str) -> None:
        """Redis has come back without the latest of this session."""
        self._losses[-1].sessions.append(session_id)

    def replica_gone(self, replica: str) -> None:
        """What all have forgotten can't be put back."""
        for loss in self._losses:
            loss.witnesses.discard(replica)
            self._forgive_if_forgotten(loss)

    def _forgive_if_forgotten(self, loss: RedisLoss) -> None:
        for session_id in () if loss.witnesses else loss.sessions:
            self._judge.sessions[session_id].due_callbacks = None

    # --- callbacks ---

    def told(self, replica: str, record: CallbackRecord) -> None:
        """The replica knows that the receiver has it."""
        self._told[record.session_id].add((replica, record.revision))

    def removed(self, session_id: str) -> None:
        """The session is not stored any more."""
        self._told.pop(session_id, None)

    def received(self, replica: str, record: CallbackRecord) -> None:
        self.count += 1
        self._judge.digest("callback", record.session_id, record.revision)
        truth = self._judge.sessions[record.session_id]
        about = f"{record.session_id}: {record.revision}"
        if (replica, record.revision) in self._told.get(record.session_id, ()):
            self._judge.violated(Invariant.CALLBACK_TWICE, f"{about} by {replica}")
        if record.revision in truth.received:
            return
        if truth.received and record.revision < truth.received[-1] and not truth.was_rolled_back:
            self._judge.violated(Invariant.CALLBACK_ORDER, f"{about} after {truth.received}")
        truth.received.append(record.revision)

    def check_end(self, session_id: str, truth: SessionTruth) -> None:
        if truth.due_callbacks is None:
            return
        if missing := sorted(set(truth.due_callbacks) - set(truth.received)):
            self._judge.violated(Invariant.CALLBACK_LOST, f"{session_id}: {missing} of {truth.due_callbacks}")
