"""A replica among the others: its lease, what it takes over from dead ones, and what it hands over. The decisions are
those of manager_agent/replicas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from manager_agent.replicas.balance import is_settled, spread
from manager_agent.replicas.lease import INTERVAL, ReplicaInfo, ReplicaLease, Roll
from tests.simulation.protocol_rules import RULES
from tests.simulation.simulated_redis import SimulatedSession

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

AWAY_PAUSE = 0.25
LEFT_FOR = 3.0
"""Seconds after which any replica takes what the one that should has not taken."""
SPREADING_INTERVAL, DRAIN_INTERVAL = 1.0, 0.25
MOST, DRAIN_MOST = 4, 16
"""Sessions that are handed over in one round, and at the same time."""
DRAIN_TIMEOUT, LAST_SECONDS = 15.0, 2.0
ARRIVAL_TIMEOUT = 10.0
"""Seconds after which the manager of a session that was handed over is not waited for any more."""


class SimulatedMembership:
    def __init__(self, replica: SimulatedReplica) -> None:
        self._replica, self._redis = replica, replica.world.redis
        self.lease, self.roll = ReplicaLease(), Roll()
        self._dead_since: dict[str, float] = {}
        self._taking: set[str] = set()
        self._sent: dict[str, tuple[str | None, float]] = {}
        self._drains_until = math.inf
        self._renew()
        replica.later(SPREADING_INTERVAL, self._spread)

    @property
    def may_act(self) -> bool:
        return self.lease.may_act(self._replica.heap.now)

    @property
    def is_draining(self) -> bool:
        return self._drains_until < math.inf

    # --- the lease ---

    def _renew(self) -> None:
        replica, sent_at = self._replica, self._replica.now
        live = self._redis.live_by_owner[replica.id]
        told = ReplicaInfo(replica.id, is_draining=self.is_draining, sessions=live)

        def renewed(answer: tuple[Roll, int, bool]) -> None:
            self.roll, run, is_recovered = answer
            self.lease = self.lease.renewed(sent_at, replica.now)
            if run != replica.run:
                replica.read_anew()
            else:
                replica.is_recovered = is_recovered
            if run == replica.run and not self.lease.is_informed:
                self._inform()
            self._take_all()
            replica.world.reconciler.lead(replica, self.roll)
            replica.later(INTERVAL, self._renew)

        def away() -> None:
            replica.later(AWAY_PAUSE, self._renew)

        redis, heap = self._redis, replica.world.heap
        replica.link.ask(lambda: (redis.leases.renew(told, heap.now), redis.run, redis.is_recovered), renewed, away)

    def _inform(self) -> None:
        """Learn what others did while this replica had no lease."""
        replica, asked_at = self._replica, self._replica.now

        def caught_up() -> None:
            self.lease = self.lease.informed(asked_at)
            replica.step_all()

        def asked(run: int) -> None:
            if run != replica.run:
                replica.read_anew()
            elif not replica.link.is_behind:
                replica.later(replica.link.read_lag, caught_up)

        replica.link.ask(lambda: self._redis.run, asked, lambda: None)

    # --- taking over ---

    def _take_all(self) -> None:
        if not self.may_act or not RULES.takes_over:
            return
        now, owned_by, roll = self._replica.now, self._redis.owned_by, self.roll
        dead = [owner for owner, owned in owned_by.items() if owned and roll.is_dead(owner)]
        self._dead_since = {owner: self._dead_since.get(owner, now) for owner in dead}
        takers = tuple(one.replica_id for one in roll.takers)
        if self._replica.id not in takers:
            return
        for owner in dead:
            is_left = now >= self._dead_since[owner] + LEFT_FOR
            for session_id in list(owned_by[owner]):
                if is_left or self._replica.world.heir(session_id, takers) == self._replica.id:
                    self._take(session_id, owner)

    def _take(self, session_id: str, owner: str) -> None:
        replica = self._replica
        stored = replica.read(session_id)
        if stored is None or stored.owner != owner or session_id in self._taking:
            return
        self._taking.add(session_id)

        def taken(answer: tuple[bool, SimulatedSession | None]) -> None:
            self._taking.discard(session_id)
            if answer[1] is not None:
                replica.learn(session_id, answer[1])

        replica.link.ask(
            lambda: self._redis.take(session_id, stored.owner, stored.fence, replica.id, only_from_dead=True),
            taken,
            lambda: self._taking.discard(session_id),
        )

    # --- handing over ---

    def drain(self) -> None:
        """Hand over all sessions, then end."""
        if not self.is_draining:
            self._drains_until = self._replica.now + DRAIN_TIMEOUT

    def _spread(self) -> None:
        self._replica.later(DRAIN_INTERVAL if self.is_draining else SPREADING_INTERVAL, self._spread)
        if self.is_draining and self._is_drained():
            self._end()
        elif self.may_act:
            self._hand_over_some()

    def _is_drained(self) -> bool:
        has_takers = any(not one.is_draining for one in self.roll.alive.values())
        is_late = self._replica.now >= self._drains_until
        return is_late or not has_takers or (not self._replica.loops and not self._awaited())

    def _end(self) -> None:
        redis, replica = self._redis, self._replica
        replica.link.ask(lambda: redis.leases.leave(replica.id, replica.now), lambda _: None, lambda: None)
        replica.world.stopped(replica)

    def _awaited(self) -> int:
        self._sent = {one: sent for one, sent in self._sent.items() if self._is_awaited(one, *sent)}
        return len(self._sent)

    def _is_awaited(self, session_id: str, manager: str | None, until: float) -> bool:
        stored = self._replica.read(session_id)
        if stored is None or stored.session.over or self._replica.now >= until:
            return False
        now = stored.session.manager
        return now.identity == manager or not now.presence.here

    def _hand_over_some(self) -> None:
        replica, now = self._replica, self._replica.now
        if not replica.loops:
            return
        most = (DRAIN_MOST if self.is_draining else MOST) - self._awaited()
        targets = list(spread(replica.id, self._redis.live_by_owner, self.roll, max(most, 0)).targets)
        takers = [one.replica_id for one in self.roll.receivers if one.replica_id != replica.id]
        is_last = self.is_draining and now >= self._drains_until - LAST_SECONDS
        for session_id in list(replica.loops):
            if not targets and not (self.is_draining and takers):
                return
            stored = replica.read(session_id)
            if stored is None:
                continue
            session = stored.session
            if self.is_draining and takers and (session.is_cleaned_up or is_last):
                self._give(stored, replica.world.heir(session_id, tuple(takers)))
            elif targets and not session.over and is_settled(session, now):
                self._give(stored, targets.pop())

    def _give(self, stored: SimulatedSession, target: str) -> None:
        replica, session = self._replica, stored.session
        session_id, loop = session.session_id, replica.loops[session.session_id]
        if loop.is_stopped:
            return
        if RULES.stops_before_hand_over:
            loop.is_stopped = True

        def given(answer: tuple[bool, SimulatedSession | None]) -> None:
            if not session.over and answer[0]:
                self._sent[session_id] = session.manager.identity, replica.now + ARRIVAL_TIMEOUT
            if answer[1] is not None:
                replica.learn(session_id, answer[1])
            resume()

        def resume() -> None:
            """Go on if the session stayed here."""
            loop.is_stopped = replica.loops.get(session_id) is not loop
            loop.step()

        take = self._redis.take
        replica.link.ask(
            lambda: take(session_id, replica.id, loop.fence, target), given, lambda: replica.later(0.5, resume)
        )
