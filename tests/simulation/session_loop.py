"""The control loop of one session, at the replica that owns it: carries out the plan, as control_loop.py does."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, Refusal
from manager_agent.session.plan import (
    Action,
    CheckDeadline,
    CleanUp,
    CreateRoom,
    DispatchManager,
    ListRoom,
    Purge,
    Remove,
    Replace,
    SendInvite,
    plan,
)
from manager_agent.session.presence_transitions import unlisted
from manager_agent.session.retries import invite_started
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from tests.simulation.protocol_rules import RULES
from tests.simulation.room_deletion import delete_room
from tests.simulation.simulated_livekit import NoRoom, SilentNode, SimulatedRoom
from tests.simulation.simulated_redis import SimulatedSession

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

CREATE_PATIENCE, CREATE_PAUSE = 5.0, 1.0
DELETE_TRIES = 3
HOLD = 1.0
RECORD_DELAY = 0.03
"""Seconds for which changes are collected until the room's metadata is written."""
RECORD_RETRY = 2.0
AWAY = 2.0
"""Seconds in which the replica may not act after which it knows as little as one that stood still."""


class SessionLoop:
    def __init__(self, replica: SimulatedReplica, stored: SimulatedSession) -> None:
        self._replica, self._world, self._heap = replica, replica.world, replica.world.heap
        self._id, self.fence = stored.session.session_id, stored.fence
        self.is_stopped = False
        self._is_busy, self._wakes_at = False, math.inf
        self._thawed_at = self._heap.now if stored.version > 1 else -math.inf
        """When this replica began to act for the session of another one, or could act again. What happened meanwhile is
        still on its way, so nothing is found overdue at once."""
        self._held_since = math.inf
        """Since when it would act if it might."""
        self._planned: tuple[Session, float] | None = None
        """For what the plan was made, until it wakes up."""
        self._is_recording = False
        self._recorded = 0

    # --- planning ---

    @property
    def stored(self) -> SimulatedSession | None:
        """None if the replica may not act for the session."""
        stored = self._replica.read(self._id)
        if stored is None or self.is_stopped or not self._replica.may_act:
            return None
        return stored if (stored.owner, stored.fence) == (self._replica.id, self.fence) else None

    def step(self) -> None:
        if self._is_busy:
            return
        now, stored = self._heap.now, self.stored
        if stored is None:
            self._held_since = min(self._held_since, now)
            return
        if now > self._held_since + AWAY:
            self._thawed_at = now
        self._held_since = math.inf
        thawed_at = max(self._replica.thawed_at, self._thawed_at)
        seen = stored.session, thawed_at
        if self._is_planned(*seen) and now < self._wakes_at:
            return
        due = plan(stored.session, now, thawed_at)
        self._planned = seen
        if due.actions:
            self._is_busy = True
            self._begin(due.actions, 0, now)
            return
        self._record(stored.session)
        self.deliver()
        self._wake(due.wake_at)

    def _is_planned(self, session: Session, thawed_at: float) -> bool:
        planned = self._planned
        return planned is not None and planned[0] is session and planned[1] == thawed_at

    def _wake(self, at: float) -> None:
        if at < self._wakes_at:
            self._wakes_at = at
            self._heap.at(at, self._replica.call, self._woken, at)

    def _woken(self, at: float) -> None:
        if at == self._wakes_at:
            self._wakes_at, self._planned = math.inf, None
            self.step()

    def _begin(self, actions: tuple[Action, ...], nth: int, now: float) -> None:
        if nth == len(actions):
            self._is_busy = False
            self.step()
            return
        after = partial(self._begin, actions, nth + 1, now)
        stored = self.stored
        if stored is None:
            self._is_busy = False
            return
        self._act(actions[nth], stored.session, now, after)

    def _act(self, action: Action, session: Session, now: float, after: Callable[[], None]) -> None:
        identities, manager = self._world.identities, session.manager
        match action:
            case CreateRoom() if session.room.created_at is not None:
                self._start(ev.RoomRequested(now), self._make_room, after)
            case CreateRoom():
                identity = identities.manager(self._id, manager.attempt + 1)
                dispatched = ev.ManagerDispatched(now, manager.attempt + 1, identity)

                def requested(_: Session) -> None:
                    self._start(dispatched, self._make_room, after)

                self._start(ev.RoomRequested(now), requested, None, otherwise=after)
            case DispatchManager(attempt):
                identity = identities.manager(self._id, attempt)
                self._start(ev.ManagerDispatched(now, attempt, identity), self._dispatch, after)
            case SendInvite(entry, attempt, tries):
                started = invite_started(identities, session, entry, attempt=attempt, tries=tries, at=now)
                self._start(started, partial(self._invite, entry), after)
            case Replace(entry):
                self._replace(session, entry, now, after)
            case Remove(identity, trespasser):
                remove = partial(self._remove, identity)
                self._start(ev.RemovalStarted(now, identity, trespasser), remove, after)
            case ListRoom():
                self._start(ev.ListingStarted(now), partial(self._list, now), after)
            case CleanUp():
                self._start(ev.CleanUpStarted(now), partial(self._clean_up, DELETE_TRIES), after)
            case CheckDeadline():
                self._start(ev.DeadlinePassed(now), lambda _: None, after)
            case Purge():
                self._purge(after)

    def _start(
        self,
        event: ev.Event,
        action: Callable[[Session], None],
        after: Callable[[], None] | None,
        otherwise: Callable[[], None] | None = None,
    ) -> None:
        """Record that an action starts, then do it, unless nothing was recorded. `after`: called in each case."""

        def recorded(stored: SimulatedSession | None, changed: bool) -> None:
            if stored is None:  # whether it was recorded is not known
                self._is_busy = False
                self._replica.later(1.0, self._replica.begin_anew, self._id)
                return
            if changed and self.stored is not None:
                action(stored.session)
            elif otherwise is not None:
                otherwise()
            if after is not None:
                after()

        self._replica.updates.update(self._id, event, recorded, fence=self.fence)

    def _tell(self, event: ev.Event, then: Callable[[Session], None] = lambda _: None) -> None:
        """Record the outcome of an action."""

        def recorded(stored: SimulatedSession | None, _: bool) -> None:
            self.step()
            if stored is not None:
                then(stored.session)

        self._replica.updates.update(self._id, event, recorded, fence=self.fence, is_kept=True)

    def _ask(self, name: str, call: Callable[[], object], then: Callable[[object], None]) -> None:
        """Call LiveKit; `then` takes its answer, an instance of NoRoom, or None if it did not answer."""
        self._world.judge.acted(self._replica.id, self._id, self.fence, name)
        self._replica.ask_livekit(call, then)

    # --- actions ---

    def _make_room(self, session: Session, since: float | None = None) -> None:
        """For the first time, or again."""
        began = self._heap.now if since is None else since
        again = session.room.created_at is not None
        identity = self._world.identities.manager(self._id, session.manager.attempt + 1) if again else ""
        worker, chances = self._replica.id, self._world.chances_of(self._id)

        def take_job(room: SimulatedRoom, created: Session) -> None:
            manager = created.manager
            was_made = identity == manager.identity if again else manager.attempt == 1
            if was_made and manager.is_taken_at_once:
                self._replica.take_job(room)

        def answered(room: object) -> None:
            if isinstance(room, SimulatedRoom):
                self._tell(ev.RoomCreated(self._heap.now, room.sid, identity), partial(take_job, room))
            elif not again and self._heap.now < began + CREATE_PATIENCE and self.stored is not None:
                self._replica.later(CREATE_PAUSE, self._make_room, session, began)
            else:
                self._tell(ev.RoomRefused(self._heap.now))

        self._ask("create room", lambda: self._world.livekit.create(session, worker, chances), answered)

    def _dispatch(self, session: Session) -> None:
        asked_at, worker = self._heap.now, self._replica.id
        livekit, chances = self._world.livekit, self._world.chances_of(self._id)

        def dispatch() -> SimulatedRoom | None:
            try:
                return livekit.dispatch(session.room_name, session, worker)
            except SilentNode:
                if not RULES.moves_rooms:
                    return None
                livekit.create(session, worker, chances)
                return livekit.dispatch(session.room_name, session, worker)

        def answered(answer: object) -> None:
            if isinstance(answer, NoRoom):
                self._tell(ev.RoomMissed(self._heap.now, asked_at))
            elif isinstance(answer, SimulatedRoom) and session.manager.is_taken_at_once:
                self._replica.take_job(answer)

        self._ask("dispatch", dispatch, answered)

    def _invite(self, entry: int, session: Session) -> None:
        attempt = session.services[entry].current
        key = (entry, attempt.number, attempt.tries)

        def answered(refusal: Refusal | None) -> None:
            now = self._heap.now
            self._tell(ev.InviteAccepted(now, *key) if refusal is None else ev.InviteRefused(now, *key, refusal))

        self._world.judge.acted(self._replica.id, self._id, self.fence, "invite")
        self._world.services.invite(self._replica, session, entry, answered)

    def _replace(self, session: Session, entry: int, now: float, after: Callable[[], None]) -> None:
        service, current = session.services[entry], session.services[entry].current
        others = {other.service_id for other in session.services}
        found = self._replica.chosen(service.type, others)
        is_late = current.overdue_since is not None
        if found is None and not (is_late and current.may_be_asked_again):
            held = ev.ReplacementHeld(now, entry, current.number, now + HOLD)
            self._start(held, lambda _: None, after)
            return
        started = (
            invite_started(
                self._world.identities, session, entry, attempt=current.number, tries=current.tries + 1, at=now
            )
            if found is None
            else invite_started(
                self._world.identities,
                session,
                entry,
                attempt=current.number + 1,
                tries=1,
                at=now,
                instead=Chosen(found.service_id, found.type, found.endpoint, None, found.ready_on),
            )
        )
        self._start(started, partial(self._invite, entry), after)

    def _remove(self, identity: str, session: Session) -> None:
        stale = session.stale_participant(identity)
        if stale is None or stale.removing is None:
            return
        sid = stale.removing

        def answered(answer: object) -> None:
            self._tell(ev.RemovalEnded(self._heap.now, identity, removed=answer is not None))

        livekit = self._world.livekit
        self._ask("remove", lambda: livekit.remove(session.room_name, identity, sid), answered)

    def _list(self, asked_at: float, session: Session) -> None:
        livekit, name = self._world.livekit, session.room_name

        def answered(answer: object) -> None:
            now, latest = self._heap.now, self._replica.read(self._id)
            if latest is None:
                return
            if isinstance(answer, NoRoom):
                confirmed = ev.RoomMissed(now, asked_at, is_confirmed=True)
                has_room = apply(latest.session, confirmed).over and self._asked_itself(
                    lambda: livekit.has_room(name, latest.session.room.sid)
                )
                self._tell(ev.ListingFailed(now, asked_at) if has_room else confirmed)
            elif isinstance(answer, tuple):
                infos, is_silent = answer
                listed = ev.RoomListed(now, asked_at, infos, (), is_silent and not latest.session.manager.presence.here)
                missing = unlisted(latest.session, listed)
                there = tuple(one for one in missing if self._asked_itself(partial(livekit.has_participant, name, one)))
                self._tell(ev.RoomListed(now, asked_at, infos, there, listed.is_silent))
            else:
                self._tell(ev.ListingFailed(now, asked_at))

        self._ask("list", lambda: livekit.participants(name), answered)

    def _asked_itself(self, call: Callable[[], bool]) -> bool:
        """The answer of a room's node."""
        return self._replica.livekit_cut_until < self._heap.now and call()

    def _clean_up(self, tries: int, session: Session) -> None:
        may_exist = session.room.created_at is not None or session.room.refused

        def answered(answer: object) -> None:
            if answer is not None:
                self._world.services.session_ended(session)
                self._tell(ev.CleanedUp(self._heap.now))
            elif tries > 1:
                self._replica.later(1.0, self._clean_up, tries - 1, session)
            else:
                self._tell(ev.CleanUpFailed(self._heap.now))

        if not may_exist:
            answered(True)
        elif self.stored is not None:
            livekit, name, sid = self._world.livekit, session.room_name, session.room.only_sid
            self._ask("delete", lambda: delete_room(livekit, name, sid), answered)

    def _purge(self, after: Callable[[], None]) -> None:
        redis = self._world.redis
        if redis.first_callback(self._id) is not None:
            self._is_busy = False
            self.deliver()
            self._replica.later(5.0, self.step)
            return
        again = partial(self._replica.later, 1.0, after)
        self._replica.link.ask(
            partial(redis.remove, self._id, self.fence), lambda _: self._replica.forget(self._id), again
        )

    # --- the room's record ---

    def _record(self, session: Session) -> None:
        if session.revision > self._recorded and session.room.created_at is not None and not self._is_recording:
            if session.is_cleaned_up:
                return
            self._is_recording = True
            self._replica.later(RECORD_DELAY, self._write_record)

    def _write_record(self) -> None:
        self._is_recording = False
        stored = self.stored
        if stored is None or stored.session.is_cleaned_up:
            return
        session = stored.session
        self._world.judge.acted(self._replica.id, self._id, self.fence, "record")
        try:
            self._replica.require_livekit()
            self._world.livekit.record(session.room_name, session.room.sid, session)
        except NoRoom:
            return
        except Exception:
            self._replica.later(RECORD_RETRY, self._record, session)
            return
        self._recorded = session.revision

    # --- callbacks ---

    def deliver(self) -> None:
        """Deliver the callbacks of the session, one after another."""
        if self._id in self._replica.delivering or self.stored is None:
            return
        record = self._replica.first_callback(self._id)
        if record is None:
            return
        self._replica.delivering.add(self._id)
        chances = self._world.chances_of(self._id)

        def answered() -> None:
            if chances.random() < 0.05:  # the receiver fails, or its answer is lost
                if chances.random() < 0.5:
                    self._world.judge.callbacks.received(self._replica.id, record)
                self._replica.later(1.0, again)
                return
            self._world.judge.callbacks.received(self._replica.id, record)
            self._replica.call(delivered)

        def delivered() -> None:
            self._world.judge.callbacks.told(self._replica.id, record)
            self._replica.callback_delivered(record, again)

        def again() -> None:
            self._replica.delivering.discard(self._id)
            self._replica.deliver(self._id)

        if self._replica.has_told(record):  # Redis does not know that, or not any more
            self._replica.callback_delivered(record, again)
        else:
            self._heap.after(chances.uniform(0.005, 0.03), answered)
