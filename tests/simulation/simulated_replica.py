"""One replica of the session manager: its lease, what it owns, and what it does when it is asked something."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from manager_agent.session import events as ev
from manager_agent.session.session import Session
from tests.simulation.manager_visit import ManagerVisit
from tests.simulation.protocol_rules import RULES
from tests.simulation.redis_link import RedisLink
from tests.simulation.session_loop import SessionLoop
from tests.simulation.session_updates import SessionUpdates
from tests.simulation.simulated_livekit import LiveKitAway, NoRoom, SimulatedRoom
from tests.simulation.simulated_redis import CallbackRecord, Membership, StoredSession
from tests.simulation.simulated_services import SimulatedInstance

if TYPE_CHECKING:
    from tests.simulation.world import World

LIVEKIT_TIMEOUT = 3.0
MANAGER_JOINS = 0.08, 0.5
"""Seconds from the acceptance of a job to the manager's join."""
MANAGERS_PER_SECOND = 10.0
"""How many managers a replica dispatches in the rooms that it took over."""
READS_ANEW = 0.2


class SimulatedReplica:
    def __init__(self, world: World, number: int, life: int) -> None:
        self.world, self.number, self.id = world, number, f"replica-{number}.{life}"
        self.chances = world.history.chances("replica", number, life)
        self.is_alive, self.frozen_until, self.livekit_cut_until = True, -math.inf, -math.inf
        self.is_draining = False
        self.thawed_at = -math.inf
        self.link = RedisLink(self)
        self.updates = SessionUpdates(self)
        self.known: dict[str, StoredSession] = {}
        self.loops: dict[str, SessionLoop] = {}
        self.visits: dict[str, ManagerVisit] = {}
        self.waiters: defaultdict[str, list[Callable[[StoredSession | None], bool]]] = defaultdict(list)
        self.acts_until = -math.inf
        self.run, self.is_recovered = world.redis.run, world.redis.is_recovered
        self.own_outbox: dict[str, deque[CallbackRecord]] = {}
        self._taking: set[str] = set()
        self._managers_due_at = -math.inf
        self._is_reading = False
        self._renew()

    # --- being a process ---

    @property
    def now(self) -> float:
        return self.world.heap.now

    def call(self, call: Callable[..., object], *arguments: Any) -> None:
        """Make a call in this process: not if it is dead, and once it is thawed if it is frozen."""
        if not self.is_alive:
            return
        if self.now < self.frozen_until:
            self.world.heap.at(self.frozen_until, self.call, call, *arguments)
            return
        call(*arguments)

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self.world.heap.after(seconds, self.call, call, *arguments)

    def freeze(self, seconds: float) -> None:
        self.frozen_until = self.now + seconds
        if seconds > 15.0:
            for visit in list(self.visits.values()):
                visit.vanish()
                visit.is_in_room = True  # as far as the frozen process knows
        self.world.heap.at(self.frozen_until, self.call, self._thaw)

    def _thaw(self) -> None:
        self.thawed_at = self.now

    def kill(self) -> None:
        self.is_alive = False
        for visit in list(self.visits.values()):
            visit.vanish()

    # --- LiveKit ---

    def require_livekit(self) -> None:
        if self.now < self.livekit_cut_until:
            raise LiveKitAway

    def ask_livekit(self, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """`then` takes the answer, NoRoom as a value, or None if there is no answer."""
        heap = self.world.heap

        def arrive() -> None:
            try:
                self.require_livekit()
                answer = call()
            except LiveKitAway:
                self.later(LIVEKIT_TIMEOUT, then, None)
                return
            except NoRoom as missing:
                answer = missing
            self.later(self.chances.uniform(0.0005, 0.003), then, answer)

        heap.after(self.chances.uniform(0.0005, 0.003), arrive)

    def offered(self, room: SimulatedRoom) -> None:
        """LiveKit offers the job of a manager."""
        session_id = room.specified.session_id
        loop, stored = self.loops.get(session_id), self.read(session_id)
        if loop is None or stored is None or self.now < self.livekit_cut_until:
            return
        identity = stored.session.manager.identity
        if identity is None or stored.session.manager.in_charge or stored.session.over:
            return

        def accepted(known: StoredSession | None, changed: bool) -> None:
            if known is not None and changed:
                self.world.judge.acted(self.id, session_id, loop.fence, "accept")
                self.later(room.chances.uniform(*MANAGER_JOINS), self._join, room, session_id, identity)

        self.updates.update(session_id, ev.JobAccepted(self.now, identity), accepted, fence=loop.fence)

    def _join(self, room: SimulatedRoom, session_id: str, identity: str) -> None:
        if session_id in self.loops and self.now >= self.livekit_cut_until:
            ManagerVisit(self, room, session_id, identity)

    # --- the mirror ---

    def read(self, session_id: str) -> StoredSession | None:
        """What this replica knows of a session."""
        known = self.known.get(session_id)
        if known is not None and session_id in self.loops:
            return known
        logged = self.world.redis.logged(session_id, self.link.position, self.run)
        if known is None or (logged is not None and logged.order >= known.order):
            return logged
        return known

    def learn(self, session_id: str, stored: StoredSession) -> None:
        known = self.known.get(session_id)
        if known is None or stored.order >= known.order:
            self.known[session_id] = stored
            self._owner_is(session_id, stored)

    def forget(self, session_id: str) -> None:
        """It is not in Redis any more."""
        self.known.pop(session_id, None)
        self._let_go(session_id)
        self._tell_waiters(session_id, None)

    def notice(self, session_id: str, stored: StoredSession | None) -> None:
        """An entry of the log was read."""
        if stored is None:
            self.forget(session_id)
            return
        if stored.run < self.run or self.link.is_cut:
            return
        self.learn(session_id, stored)
        self._tell_waiters(session_id, stored)
        if (loop := self.loops.get(session_id)) is not None:
            loop.step()

    def _owner_is(self, session_id: str, stored: StoredSession) -> None:
        loop = self.loops.get(session_id)
        if loop is not None and (stored.owner, stored.fence) != (self.id, loop.fence):
            self._let_go(session_id)
            loop = None
        if loop is None and stored.owner == self.id:
            self._begin(stored)

    def _begin(self, stored: StoredSession) -> None:
        """Act for a session from now on. What others had begun may have been done or not."""
        session_id = stored.session.session_id
        if session_id in self.loops:
            return
        loop = self.loops[session_id] = SessionLoop(self, stored)
        if stored.version == 1:
            loop.step()
            return
        self._managers_due_at = max(self.now, self._managers_due_at + 1 / MANAGERS_PER_SECOND)
        interrupted = ev.Interrupted(self.now, manager_at=self._managers_due_at)
        self.updates.update(session_id, interrupted, lambda *_: loop.step(), fence=loop.fence, is_kept=True)

    def _let_go(self, session_id: str) -> None:
        loop = self.loops.pop(session_id, None)
        if loop is not None:
            loop.is_stopped = True
        visit = self.visits.get(session_id)
        if visit is not None:
            visit.leave()

    def read_anew(self) -> None:
        """Compare what is known with all that Redis has."""
        if self._is_reading:
            return
        self._is_reading = True

        def away() -> None:
            self._is_reading = False
            self.later(0.5, self.read_anew)

        self.later(self.chances.uniform(0.05, READS_ANEW), self.link.ask, self._state, self._read, away)

    def _state(self) -> tuple[int, bool]:
        return self.world.redis.run, self.world.redis.is_recovered

    def _read(self, state: tuple[int, bool]) -> None:
        self._is_reading, (self.run, self.is_recovered) = False, state
        self.link.has_read_anew()
        sessions = self.world.redis.sessions
        for session_id in [*self.known, *(one for one in self.waiters if one not in self.known)]:
            stored = sessions.get(session_id)
            if stored is None:
                self.forget(session_id)
            else:
                self.known[session_id] = stored
                self._owner_is(session_id, stored)
                self._tell_waiters(session_id, stored)
        for session_id in list(self.world.redis.owned_by.get(self.id, ())):
            self.learn(session_id, sessions[session_id])
        self._resume()

    # --- the lease ---

    @property
    def may_act(self) -> bool:
        return self.now < self.acts_until

    def _renew(self) -> None:
        sent_at = self.now

        def renewed(membership: Membership) -> None:
            could_act = self.may_act
            self.acts_until = max(self.acts_until, RULES.acts_until(sent_at, self.now))
            if membership.run == self.run:
                self.is_recovered = membership.is_recovered
            if membership.run != self.run:
                self.read_anew()
            elif not could_act:
                self._resume()
            self._take_over(membership)
            self.world.reconciler.lead(self, membership)

        self.link.ask(lambda: self.world.redis.renew(self.id), renewed, lambda: None)
        self.later(RULES.renewal, self._renew)

    def _resume(self) -> None:
        """It may act again: what was begun before may have been done or not."""
        for session_id, loop in list(self.loops.items()):
            visit = self.visits.get(session_id)
            interrupted = ev.Interrupted(self.now, manager_at=self.now if visit is None else None)
            self.updates.update(session_id, interrupted, lambda *_, one=loop: one.step(), fence=loop.fence)
            if visit is not None:
                visit.report_all()

    def _take_over(self, membership: Membership) -> None:
        if not RULES.may_judge(self.now, self.link.back_since) or not self.may_act or not RULES.takes_over:
            return
        alive = sorted(one for one, remaining in membership.remaining.items() if not RULES.is_dead(remaining))
        heirs = [one for one in alive if one not in self.world.draining and RULES.may_inherit(membership.ages[one])]
        for owner in sorted(self.world.redis.owned_by):
            owned = self.world.redis.owned_by[owner]
            if owned and owner not in alive and owner != self.id and owner not in self.world.draining:
                for session_id in owned:
                    if session_id not in self._taking and RULES.heir(session_id, heirs or alive) == self.id:
                        self._take(session_id)

    def _take(self, session_id: str) -> None:
        stored = self.world.redis.logged(session_id, self.link.position, self.run)
        if stored is None:
            return
        self._taking.add(session_id)

        def taken(answer: tuple[bool, StoredSession | None]) -> None:
            self._taking.discard(session_id)
            if answer[1] is not None:
                self.learn(session_id, answer[1])

        self.link.ask(
            lambda: self.world.redis.take(session_id, stored.owner, stored.fence, self.id),
            taken,
            lambda: self._taking.discard(session_id),
        )

    def drain(self) -> None:
        """Hand over all sessions, then end."""
        self.is_draining = True
        self.world.draining.add(self.id)
        self._hand_over()

    def _hand_over(self) -> None:
        alive = [one.id for one in self.world.live() if not one.is_draining]
        if not self.loops or not alive:
            self.world.redis.release(self.id)
            self.world.stopped(self)
            return
        session_id, loop = next(iter(self.loops.items()))
        heir = RULES.heir(session_id, alive)
        if RULES.stops_before_hand_over:
            loop.is_stopped = True

        def handed(answer: tuple[bool, StoredSession | None]) -> None:
            if answer[1] is not None:
                self.learn(session_id, answer[1])
            self._let_go(session_id)
            self._hand_over()

        self.link.ask(
            lambda: self.world.redis.take(session_id, self.id, loop.fence, heir),
            handed,
            lambda: self.later(0.5, self._hand_over),
        )

    # --- callbacks ---

    def has_written(self, session_id: str, after: Session) -> None:
        if not RULES.callbacks_are_in_the_outbox and after.state_revision == after.revision:
            record = CallbackRecord(session_id, after.state_revision, after.over)
            self.own_outbox.setdefault(session_id, deque()).append(record)

    def first_callback(self, session_id: str) -> CallbackRecord | None:
        if RULES.callbacks_are_in_the_outbox:
            return self.world.redis.first_callback(session_id)
        waiting = self.own_outbox.get(session_id)
        return waiting[0] if waiting else None

    def callback_delivered(self, record: CallbackRecord, then: Callable[[], None]) -> None:
        if not RULES.callbacks_are_in_the_outbox:
            self.own_outbox[record.session_id].popleft()
            then()
            return
        self.link.ask(lambda: self.world.redis.delivered(record), lambda _: then(), lambda: self.later(1.0, then))

    # --- waiting ---

    def wait_for(self, session_id: str, check: Callable[[StoredSession | None], bool]) -> None:
        """Call `check` with the session now and after each change, until it returns True."""
        if check(self.read(session_id)):
            return
        self.waiters[session_id].append(check)
        self.world.watch(session_id, self)

    def _tell_waiters(self, session_id: str, stored: StoredSession | None) -> None:
        waiting = self.waiters.get(session_id)
        if waiting is None:
            return
        left = [check for check in waiting if not check(stored)]
        if left:
            self.waiters[session_id] = left
        else:
            self.waiters.pop(session_id, None)
            self.world.unwatch(session_id, self)

    # --- choosing services ---

    def chosen(self, kind: str, excluded: set[str]) -> SimulatedInstance | None:
        return self.world.services.chosen(kind, excluded, self.world.redis.counters)
