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
from tests.simulation.simulated_membership import SimulatedMembership
from tests.simulation.simulated_redis import CallbackRecord, SimulatedSession
from tests.simulation.simulated_services import SimulatedInstance

if TYPE_CHECKING:
    from tests.simulation.world import World

LIVEKIT_TIMEOUT = 3.0
MANAGER_JOINS = 0.08, 0.5
"""Seconds from the acceptance of a job to the manager's join."""
MANAGERS_PER_SECOND = 10.0
"""How many managers a replica dispatches in the rooms that it took over."""
READS_ANEW = 0.2
OWNERS_FIRST = 3.0
"""Seconds until others put back what the owner of a session has not."""


class SimulatedReplica:
    def __init__(self, world: World, number: int, life: int) -> None:
        self.world, self.heap, self.number, self.id = world, world.heap, number, f"replica-{number}.{life}"
        self.chances = world.history.chances("replica", number, life)
        self.is_alive, self.frozen_until, self.livekit_cut_until = True, -math.inf, -math.inf
        self.started_at, self.thawed_at = world.heap.now, -math.inf
        self.link = RedisLink(self)
        self.updates = SessionUpdates(self)
        self.known: dict[str, SimulatedSession] = {}
        self.loops: dict[str, SessionLoop] = {}
        self.visits: dict[str, ManagerVisit] = {}
        self.waiters: defaultdict[str, list[Callable[[SimulatedSession | None], bool]]] = defaultdict(list)
        self.run, self.is_recovered = 0, False
        """In which life of Redis this replica has read the state; 0: not yet."""
        self.own_outbox: dict[str, deque[CallbackRecord]] = {}
        self.told: dict[str, set[int]] = {}
        """The revisions of each session whose callbacks this replica has told."""
        self.delivering: set[str] = set()
        """The sessions of which a callback is on its way."""
        self.executing: set[str] = set()
        """The keys of the requests that are executed here."""
        self._managers_due_at = -math.inf
        self._is_reading = False
        self.membership = SimulatedMembership(self)
        self.read_anew()

    @property
    def may_act(self) -> bool:
        return self.membership.lease.may_act(self.heap.now)

    @property
    def is_draining(self) -> bool:
        return self.membership.is_draining

    @property
    def has_read_all(self) -> bool:
        """Whether it knows what Redis has, but for what is on its way."""
        return self.run == self.world.redis.run and not self.link.is_behind

    # --- being a process ---

    @property
    def now(self) -> float:
        return self.heap.now

    def call(self, call: Callable[..., object], *arguments: Any) -> None:
        """Make a call in this process: not if it is dead, and once it is thawed if it is frozen."""
        if not self.is_alive:
            return
        if self.heap.now < self.frozen_until:
            self.heap.at(self.frozen_until, self.call, call, *arguments)
            return
        call(*arguments)

    def later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self.heap.after(seconds, self.call, call, *arguments)

    def freeze(self, seconds: float) -> None:
        self.frozen_until = self.now + seconds
        if seconds > 15.0:
            for visit in list(self.visits.values()):
                visit.vanish()
                visit.is_in_room = True  # as far as the frozen process knows
        self.heap.at(self.frozen_until, self.call, self._thaw)

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

        self.heap.after(self.chances.uniform(0.0005, 0.003), arrive)

    def take_job(self, room: SimulatedRoom) -> None:
        """Take the job of a manager: LiveKit offers it, or this replica has just dispatched it."""
        session_id = room.specified.session_id
        loop, stored = self.loops.get(session_id), self.read(session_id)
        if loop is None or stored is None or self.now < self.livekit_cut_until:
            return
        identity = stored.session.manager.identity
        if identity is None or stored.session.manager.in_charge or stored.session.over:
            return

        def accepted(_: SimulatedSession | None, changed: bool) -> None:
            if changed and loop.stored is not None:
                self.world.judge.acted(self.id, session_id, loop.fence, "accept")
                self.later(room.chances.uniform(*MANAGER_JOINS), self._join, room, session_id, identity)

        self.updates.update(session_id, ev.JobAccepted(self.now, identity), accepted, fence=loop.fence)

    def _join(self, room: SimulatedRoom, session_id: str, identity: str) -> None:
        if session_id in self.loops and self.now >= self.livekit_cut_until:
            ManagerVisit(self, room, session_id, identity)

    # --- the mirror ---

    def read(self, session_id: str) -> SimulatedSession | None:
        """What this replica knows of a session."""
        known = self.known.get(session_id)
        if known is not None and session_id in self.loops:
            return known
        logged = self.world.redis.logged(session_id, self.link.position, self.run) if self.run else None
        if known is None or (logged is not None and logged is not known and logged.order >= known.order):
            return logged
        return known

    def learn(self, session_id: str, stored: SimulatedSession) -> None:
        known = self.known.get(session_id)
        if known is not stored and (known is None or stored.order >= known.order):
            self.known[session_id] = stored
            self._owner_is(session_id, stored)

    def forget(self, session_id: str) -> None:
        """It is not in Redis any more."""
        self.known.pop(session_id, None)
        self.told.pop(session_id, None)
        self._let_go(session_id)
        if (visit := self.visits.get(session_id)) is not None:
            visit.leave()
        self._tell_waiters(session_id, None)

    def notice(self, session_id: str, stored: SimulatedSession | None) -> None:
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

    def _owner_is(self, session_id: str, stored: SimulatedSession) -> None:
        loop = self.loops.get(session_id)
        if loop is not None and (stored.owner, stored.fence) != (self.id, loop.fence):
            self._let_go(session_id)
            loop = None
        if loop is None and stored.owner == self.id and RULES.begins_what_it_gains:
            self._begin(stored)
        elif stored.owner != self.id and (visit := self.visits.get(session_id)) is not None:
            visit.make_way(stored.session)

    def _begin(self, stored: SimulatedSession) -> None:
        """Act for a session from now on. What others had begun may have been done or not."""
        session_id = stored.session.session_id
        loop = self.loops[session_id] = SessionLoop(self, stored)
        self.world.unwatch(session_id, self)
        if stored.version == 1:
            loop.step()
        else:
            self.begin_anew(session_id)

    def begin_anew(self, session_id: str) -> None:
        """What was begun for the session may have been done or not."""
        loop, visit = self.loops.get(session_id), self.visits.get(session_id)
        stored = self.read(session_id)
        if loop is None or stored is None:
            return
        manager_at = None
        if visit is None or visit.identity != stored.session.manager.identity:
            manager_at = self._managers_due_at = max(self.now, self._managers_due_at + 1 / MANAGERS_PER_SECOND)
        interrupted = ev.Interrupted(self.now, manager_at=manager_at)
        self.updates.update(session_id, interrupted, lambda *_: loop.step(), fence=loop.fence, is_kept=True)
        if visit is not None:
            visit.report_all()

    def step_all(self) -> None:
        """It may act again."""
        for loop in list(self.loops.values()):
            loop.step()

    def _let_go(self, session_id: str) -> None:
        loop = self.loops.pop(session_id, None)
        if loop is not None:
            loop.is_stopped = True
        if session_id in self.visits:
            self.world.watch(session_id, self)  # its manager leaves when the next one is there

    # --- reading anew ---

    def read_anew(self) -> None:
        """Compare what is known with all that Redis has."""
        if self._is_reading:
            return
        self._is_reading = True

        def away() -> None:
            self._is_reading = False
            self.later(0.5, self.read_anew)

        pause = self.chances.uniform(0.05, READS_ANEW)
        self.later(pause, self.link.ask, self._state, self._read, away)

    def _state(self) -> tuple[int, bool]:
        return self.world.redis.run, self.world.redis.is_recovered

    def _read(self, state: tuple[int, bool]) -> None:
        was_run = self.run
        self._is_reading, (self.run, self.is_recovered) = False, state
        self.link.has_read_anew()
        has_lost = was_run not in (0, self.run) and RULES.puts_back
        sessions, lost = self.world.redis.sessions, self.world.redis.lost if has_lost else {}
        for session_id in [*self.known, *(one for one in self.waiters if one not in self.known)]:
            stored, known = sessions.get(session_id), self.known.get(session_id)
            if known is not None and session_id in lost and (stored is None or stored.version < known.version):
                if known.owner == self.id:
                    self._put_back(known, stored)
            elif stored is None:
                self.forget(session_id)
            else:
                self._take_as_read(session_id, stored)
        for session_id in list(self.world.redis.owned_by.get(self.id, ())):
            self.learn(session_id, sessions[session_id])
        if lost:
            self.later(self.chances.uniform(OWNERS_FIRST, 1.5 * OWNERS_FIRST), self._put_back_the_rest, self.run)
        for session_id in list(self.loops):
            self.begin_anew(session_id)

    def _take_as_read(self, session_id: str, stored: SimulatedSession) -> None:
        self.known[session_id] = stored
        self._owner_is(session_id, stored)
        self._tell_waiters(session_id, stored)

    def has_lost(self, session_id: str, stored: SimulatedSession | None) -> bool:
        """Whether this replica knows more of a session than is stored, and it will be put back or forgotten."""
        known, redis = self.known.get(session_id), self.world.redis
        if known is None or session_id not in redis.lost:
            return stored is None and self.run != redis.run
        return stored is None or stored.order < known.order

    def _put_back(self, known: SimulatedSession, seen: SimulatedSession | None) -> None:
        """Redis has lost what this replica knows of a session."""
        session_id = known.session.session_id

        def put_back(stored: SimulatedSession | None) -> None:
            if stored is None:
                self.forget(session_id)
            else:
                self._take_as_read(session_id, stored)
                self.deliver(session_id)

        self.link.ask(lambda: self.world.redis.put_back(known, seen), put_back, lambda: None)

    def _put_back_the_rest(self, run: int) -> None:
        """What the owners have not put back, because they are gone too."""
        redis = self.world.redis
        if run != redis.run:
            return
        for session_id, known in redis.lost.items():
            seen = redis.sessions.get(session_id)
            if known is not None and (seen is None or (seen.run < run and seen.version < known.version)):
                self._put_back(known, seen)
        for session_id in [one for one in self.known if one not in redis.sessions]:
            self.forget(session_id)

    # --- callbacks ---

    def deliver(self, session_id: str) -> None:
        """Deliver the callbacks of the session if it is this replica's."""
        if (loop := self.loops.get(session_id)) is not None:
            loop.deliver()

    def has_written(self, session_id: str, after: Session) -> None:
        if not RULES.callbacks_are_in_the_outbox and after.state_revision == after.revision:
            record = CallbackRecord(session_id, after.state_revision, after.over)
            self.own_outbox.setdefault(session_id, deque()).append(record)

    def first_callback(self, session_id: str) -> CallbackRecord | None:
        if RULES.callbacks_are_in_the_outbox:
            return self.world.redis.first_callback(session_id)
        waiting = self.own_outbox.get(session_id)
        return waiting[0] if waiting else None

    def has_told(self, record: CallbackRecord) -> bool:
        return record.revision in self.told.get(record.session_id, ())

    def callback_delivered(self, record: CallbackRecord, then: Callable[[], None]) -> None:
        if not RULES.callbacks_are_in_the_outbox:
            self.own_outbox[record.session_id].popleft()
            then()
            return
        if RULES.remembers_what_it_told:
            self.told.setdefault(record.session_id, set()).add(record.revision)
        self.link.ask(lambda: self.world.redis.delivered(record), lambda _: then(), lambda: self.later(1.0, then))

    # --- waiting ---

    def wait_for(self, session_id: str, check: Callable[[SimulatedSession | None], bool]) -> None:
        """Call `check` with the session now and after each change, until it returns True."""
        if check(self.read(session_id)):
            return
        self.waiters[session_id].append(check)
        self.world.watch(session_id, self)

    def _tell_waiters(self, session_id: str, stored: SimulatedSession | None) -> None:
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
