"""Everything that a simulation has, and the faults that happen to it."""

from __future__ import annotations

import gc
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from manager_agent.replicas.lease import LEASE
from manager_agent.replicas.rendezvous import chosen
from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.identities import Identities
from tests.simulation.event_heap import EventHeap
from tests.simulation.history import START, FaultKind, History, PlannedSession, SimulatedFault
from tests.simulation.invariants import InvariantViolation
from tests.simulation.judge import Judge
from tests.simulation.reconciling import SimulatedReconciler
from tests.simulation.simulated_client import SimulatedClient
from tests.simulation.simulated_livekit import SimulatedLiveKit, SimulatedRoom
from tests.simulation.simulated_redis import SimulatedRedis, SimulatedSession
from tests.simulation.simulated_replica import SimulatedReplica
from tests.simulation.simulated_services import SimulatedServices

LIVE_SECONDS = 40.0
"""About how long a session lives."""
CAPACITY = 40
"""Sessions of one service instance."""
WELL_FOR = 2 * LEASE
"""Seconds without a disturbance after which nothing is taken from a replica."""
ENDS_AFTER = 900.0
"""Seconds after the last session was asked for until which all are over and forgotten."""


@dataclass(frozen=True, slots=True)
class SimulationOutcome:
    """What came of a simulation."""

    digest: str
    violations: tuple[InvariantViolation, ...]
    reasons: Counter[str]
    acknowledged: int
    tokens: int
    acts: int
    callbacks: int
    writes: int
    commands: int
    takes: int
    recovered: int
    calls: int
    lasted: float
    """Seconds of the virtual clock."""


class World:
    def __init__(self, history: History, *, stops_at_first: bool = False) -> None:
        self.history, self.heap = history, EventHeap(START)
        self._stops_at_first = stops_at_first
        self._chances: dict[str, random.Random] = {}
        self._balance = history.chances("balance")
        self._writes = count(1)
        self._session_ids: dict[str, list[str]] = {}
        """Of all executions of the request with a key, in their order."""
        self.identities = Identities(str(history.seed))
        self.redis_slow_until = -math.inf
        self._heirs: dict[tuple[str, tuple[str, ...]], str] = {}
        self._watching: dict[str, dict[SimulatedReplica, None]] = {}
        self.judge = Judge(self)
        rate = len(history.sessions) / max(1.0, history.lasts)
        per_type = max(2, math.ceil(1.5 * rate * LIVE_SECONDS / CAPACITY))
        self.services = SimulatedServices(self, history.instances or per_type, CAPACITY)
        self.redis = SimulatedRedis(
            self.heap, self.services.capacities, self._written, self._taken, self.judge.requests.replaced
        )
        self.livekit = SimulatedLiveKit(self.heap, self._webhook, self._offer, self.judge.digest)
        self.reconciler = SimulatedReconciler(self)
        self._lives: Counter[int] = Counter()
        self.replicas: dict[int, SimulatedReplica] = {}
        self._live: list[SimulatedReplica] | None = None
        self._by_id: dict[str, SimulatedReplica] = {}
        for number in range(history.nodes):
            self._start(number)
        self._schedule()

    def _schedule(self) -> None:
        for script in self.history.sessions:
            self.heap.at(START + 2.0 + script.at, self._ask, script)
        for fault in self.history.faults:
            self.heap.at(START + 2.0 + fault.at, self._happen, fault)

    def _ask(self, script: PlannedSession) -> None:
        SimulatedClient(self, script).ask()

    def run(self, progress: Callable[[World], None] = lambda _: None) -> SimulationOutcome:
        """Until all sessions are over and forgotten. `progress`: called every 10 s of the virtual clock."""
        ends = START + self.history.lasts + ENDS_AFTER
        at, gc_was_on = START, gc.isenabled()
        gc.disable()
        try:
            while at < ends:
                at = min(ends, at + 10.0)
                self.heap.run(at)
                gc.collect(1)
                progress(self)
                if self._stops_at_first and self.judge.violations:
                    break
                if at > START + 2.0 + self.history.lasts + 150.0 and self._is_over:
                    break
        finally:
            if gc_was_on:
                gc.enable()
        if not (self._stops_at_first and self.judge.violations):
            self.judge.check_end()
        return self._outcome()

    @property
    def _is_over(self) -> bool:
        """Whether no session and no room is left."""
        return not (self.redis.sessions or self.livekit.rooms or self.livekit.nodeless)

    def _outcome(self) -> SimulationOutcome:
        judge = self.judge
        acknowledged = sum(truth.acknowledged_at is not None for truth in judge.sessions.values())
        return SimulationOutcome(
            digest=judge.printed,
            violations=tuple(judge.violations),
            reasons=judge.reasons,
            acknowledged=acknowledged,
            tokens=judge.tokens,
            acts=judge.acts,
            callbacks=judge.callbacks.count,
            writes=judge.writes,
            commands=self.redis.commands,
            takes=judge.takes,
            recovered=self.reconciler.recovered,
            calls=self.heap.calls,
            lasted=self.since_start,
        )

    @property
    def since_start(self) -> float:
        return self.heap.now - START - 2.0

    def next_write(self) -> int:
        return next(self._writes)

    def next_session_id(self, key: str) -> str:
        """For one more execution of the request with this key."""
        known = self._session_ids.setdefault(key, [])
        known.append(f"{key}.{len(known) + 1}" if known else key)
        return known[-1]

    def session_ids(self, key: str) -> list[str]:
        return self._session_ids.get(key, [])

    def session_ids_beside(self, session_id: str) -> list[str]:
        """Those of the other executions of the request that made this session."""
        return [one for one in self.session_ids(session_id.partition(".")[0]) if one != session_id]

    def chances_of(self, session_id: str) -> random.Random:
        chances = self._chances.get(session_id)
        if chances is None:
            chances = self._chances[session_id] = self.history.chances(session_id)
        return chances

    # --- replicas ---

    def _start(self, number: int) -> None:
        self._lives[number] += 1
        replica = SimulatedReplica(self, number, self._lives[number])
        self.replicas[number] = self._by_id[replica.id] = replica
        self._live = None

    def live(self) -> list[SimulatedReplica]:
        if self._live is None:
            self._live = [one for one in self.replicas.values() if one.is_alive]
        return self._live

    def balanced(self) -> SimulatedReplica | None:
        """The replica to which a load balancer sends a request. It does not know who is frozen or cut off."""
        live = [one for one in self.live() if not one.is_draining]
        return self._balance.choice(live) if live else None

    def stopped(self, replica: SimulatedReplica) -> None:
        """A replica has ended in order; another one is started in its place."""
        replica.is_alive, self._live = False, None
        self.judge.callbacks.replica_gone(replica.id)
        if self.replicas.get(replica.number) is replica:
            self.heap.after(1.0, self._start, replica.number)

    def heir(self, session_id: str, takers: tuple[str, ...]) -> str:
        """The replica that takes a session over: all come to the same, so it is computed once for all."""
        key = session_id, takers
        if key not in self._heirs:
            if len(self._heirs) > 10_000:
                self._heirs.clear()
            self._heirs[key] = chosen(session_id, takers)
        return self._heirs[key]

    # --- what is told to replicas ---

    def watch(self, session_id: str, replica: SimulatedReplica) -> None:
        self._watching.setdefault(session_id, {})[replica] = None

    def unwatch(self, session_id: str, replica: SimulatedReplica) -> None:
        watching = self._watching.get(session_id)
        if watching is not None:
            watching.pop(replica, None)
            if not watching:
                del self._watching[session_id]

    def _written(self, session_id: str, before: SimulatedSession | None, after: SimulatedSession | None) -> None:
        self.judge.written(session_id, before, after)
        concerned = list(self._watching.get(session_id, ()))
        for stored in (before, after):
            owner = None if stored is None else self._by_id.get(stored.owner)
            if owner is not None and owner.is_alive and owner not in concerned:
                concerned.append(owner)
        for replica in concerned:
            self.heap.after(replica.link.read_lag, replica.call, replica.notice, session_id, after)
        if after is None:
            self._forget(session_id)

    def _taken(self, owner: str) -> None:
        """Sessions are taken from a replica that counts as dead."""
        replica, now = self._by_id.get(owner), self.heap.now
        if replica is not None and replica.is_alive and not replica.is_draining:
            since = max(replica.started_at, replica.frozen_until, replica.link.cut_until)
            if now >= since + WELL_FOR:
                self.judge.taken_from_the_living(owner)

    def _forget(self, session_id: str) -> None:
        self._chances.pop(session_id, None)
        self._watching.pop(session_id, None)
        for replica in self.replicas.values():
            replica.known.pop(session_id, None)
            replica.told.pop(session_id, None)

    def _webhook(
        self, room: SimulatedRoom, event: str, participant: ParticipantInfo | None, chances: random.Random
    ) -> None:
        """LiveKit sends it to whatever replica the balancer names."""
        live = self.live()
        if live:
            replica = live[int(chances.random() * len(live))]
            replica.call(self._receive_webhook, replica, room, event, participant)

    @staticmethod
    def _receive_webhook(
        replica: SimulatedReplica, room: SimulatedRoom, event: str, participant: ParticipantInfo | None
    ) -> None:
        session_id, now = room.specified.session_id, replica.now
        stored = replica.read(session_id)
        if stored is None or stored.session.over:
            return
        if not stored.session.webhooks_arrive:
            replica.updates.update(session_id, ev.WebhookArrived(now), fence=None)
        if participant is None:
            replica.updates.update(session_id, ev.RoomClosed(now, room.sid), fence=None)
        elif event == "participant_joined":
            replica.updates.update(session_id, ev.ParticipantSeen(now, participant), fence=None)
        else:
            left = ev.ParticipantLeft(now, participant.identity, participant.sid)
            replica.updates.update(session_id, left, fence=None)

    def _offer(self, worker: str, room: SimulatedRoom) -> None:
        replica = self._by_id.get(worker)
        if replica is not None:
            replica.call(replica.take_job, room)

    # --- faults ---

    def _happen(self, fault: SimulatedFault) -> None:
        self.judge.digest("fault", str(fault.kind), fault.target)
        until = self.heap.now + fault.seconds
        replica = self.replicas[fault.target % self.history.nodes]
        match fault.kind:
            case FaultKind.KILL | FaultKind.DRAIN | FaultKind.FREEZE | FaultKind.CUT_FROM_REDIS if not replica.is_alive:
                return
            case FaultKind.KILL:
                replica.kill()
                self._live = None
                self.judge.callbacks.replica_gone(replica.id)
                self.judge.replica_died(replica.id)
                self.heap.at(until, self._start, replica.number)
            case FaultKind.FREEZE:
                replica.freeze(fault.seconds)
            case FaultKind.DRAIN:
                replica.call(replica.membership.drain)
            case FaultKind.CUT_FROM_REDIS:
                replica.link.cut(until)
            case FaultKind.CUT_FROM_LIVEKIT:
                replica.livekit_cut_until = until
            case FaultKind.REDIS_SLOW:
                self.redis_slow_until = until
            case FaultKind.REDIS_RESTART | FaultKind.REDIS_ROLLBACK | FaultKind.REDIS_EMPTY:
                self.judge.callbacks.redis_stops({one.id for one in self.live() if one.has_read_all})
                self.redis.stop()
                self.heap.at(until, self._redis_comes_back, fault.kind)
            case FaultKind.LIVEKIT_AWAY:
                self.livekit.away_until = until
            case FaultKind.LIVEKIT_NODE_KILL:
                self._kill_livekit_node(fault.target)
            case FaultKind.LIVEKIT_REDIS_RESTART:
                self.livekit.apart_until = until
                self.judge.rooms.nodes_apart(until)
            case FaultKind.WEBHOOKS_LOST:
                self.livekit.webhooks_lost_until = until
            case FaultKind.LISTS_LAG:
                self.livekit.lists_lag_until = until
            case FaultKind.SERVICE_DOWN:
                self.services.go_down(fault.target, until)
        self.judge.fault(fault.kind, until)

    def _kill_livekit_node(self, number: int) -> None:
        before = dict(self.livekit.rooms)
        self.livekit.kill_node(number)
        for name, room in before.items():
            if name not in self.livekit.rooms:
                self.judge.rooms.room_lost(room.specified.session_id)

    def _redis_comes_back(self, kind: FaultKind) -> None:
        if not self.redis.is_down:
            return
        if kind is FaultKind.REDIS_EMPTY:
            self.judge.emptied(self.redis.come_back_empty())
        elif kind is FaultKind.REDIS_ROLLBACK:
            self.judge.rolled_back(self.redis.come_back_without_the_last())
            self.judge.recount()
        else:
            self.redis.come_back()
        self.judge.callbacks.redis_is_back()
        for replica in self.live():
            replica.later(replica.chances.uniform(0.0, 1.0), replica.read_anew)
