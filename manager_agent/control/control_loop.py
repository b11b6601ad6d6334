"""Carries out the plan of one session, then sleeps until the next wake-up or change.

For each action: record its start, do its I/O (action_io.py, service_io.py) in a task, record the event of its outcome.
If the session does not record the start, the action is skipped: it is no longer due.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec

import structlog

from manager_agent.control.action_io import ActionIO
from manager_agent.control.backends import Backends
from manager_agent.control.service_io import ServiceIO
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.overlooked import relief_at
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
from manager_agent.session.retries import invite_started
from manager_agent.session.session import Session
from manager_agent.store.store import Full, UnknownSession

log = structlog.get_logger()

P = ParamSpec("P")

PAUSE_AFTER_FAULT = 1.0
AWAY = 2.0
"""Seconds without LiveKit after which this process knows as little as one that stood still."""
REPLACED = "replaced"
"""The end reason sent to a service that was replaced by another instance."""


class ControlLoop:
    def __init__(self, session_id: str, backends: Backends) -> None:
        self._id = session_id
        self._store, self._acting, self._clock = backends.store, backends.acting, backends.clock
        self._replacer, self._identities = backends.replacer, backends.identities
        self._services, self._tasks = ServiceIO(session_id, backends), backends.io
        self._io = ActionIO(session_id, backends, self._services)
        self._standstill, self._livekit_back_at = backends.standstill, -math.inf
        self._new_sessions = backends.new_sessions

    def resume(self, recorded: Session) -> None:
        """Call it before `run` for a session whose room exists already. `recorded`: the session that its record has."""
        self._io.keep_recorded(recorded)

    def take_over(self, session: Session) -> None:
        """Call it before `run` for a session for which another process acted until now. What happened meanwhile is
        still on its way, so nothing is found overdue at once."""
        self._livekit_back_at = self._clock()
        if session.room.created_at is not None and not session.is_cleaned_up:
            self._io.keep_recorded(session, has_status=False)

    async def run(self) -> None:
        """Run until the session is removed from the store."""
        try:
            self._bind_context(self._store.get(self._id))
        except UnknownSession:  # there were too many ended ones
            self._io.forget_record()
            return
        try:
            await self._run()
        finally:
            self._new_sessions.note(self._id, is_new=False)

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except UnknownSession:
                self._io.forget_record()
                return
            except NotActing:
                return
            except Exception:
                log.exception("control_loop_fault")
                await asyncio.sleep(PAUSE_AFTER_FAULT)

    def _bind_context(self, session: Session) -> None:
        """Bind log lines of this task to the session instead of the request that opened it."""
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        opened_by = {} if request_id is None else {"opened_by": request_id}
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**session.log_fields, **opened_by)

    async def _step(self) -> None:
        began = self._clock()
        await self._acting.until_acting()  # a deadline that passed while LiveKit was away may be another process's now
        session, now = self._store.get(self._id), self._clock()
        self._new_sessions.note(self._id, is_new=session.is_being_set_up)
        if now > began + AWAY:
            self._livekit_back_at = now
        for entry, service in enumerate(session.services):
            if service.timeline.joined is None:
                continue  # not in the room yet, whatever it signaled by HTTP
            self._replacer.record_join(service.current.ref, service.timeline.joined)
            if service.state is ServiceState.READY:
                self._services.report_outcome(entry, service.current, succeeded=True)
        due = plan(session, now, self._thawed_at)
        for action in due.actions:
            await self._begin(action, now)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(due.wake_at - now, 3600.0)):
                await self._store.wait_for(self._id, lambda latest: latest is not session)

    @property
    def _thawed_at(self) -> float:
        return max(self._standstill.ended_at, self._livekit_back_at)

    async def _begin(self, action: Action, now: float) -> None:
        match action:
            case CreateRoom() if self._store.get(self._id).room.created_at is not None:
                if session := await self._recorded(ev.RoomRequested(now)):
                    self._do(action, self._io.make_room_again, session)
            case CreateRoom():
                if session := await self._recorded(ev.RoomRequested(now)):
                    first = session.manager.attempt + 1  # more than 1 if another process was interrupted
                    dispatched = ev.ManagerDispatched(now, first, self._identities.manager(self._id, first))
                    self._do(action, self._io.create_room, await self._record(dispatched))
            case DispatchManager(attempt):
                identity = self._identities.manager(self._id, attempt)
                if relief_at(self._store.get(self._id)) <= now:
                    log.warning("manager_overlooks", dispatch=attempt - 1)
                if session := await self._recorded(ev.ManagerDispatched(now, attempt, identity)):
                    self._do(action, self._io.dispatch_manager, session)
            case SendInvite(entry, attempt, tries):
                session = self._store.get(self._id)
                started = invite_started(self._identities, session, entry, attempt=attempt, tries=tries, at=now)
                if recorded := await self._recorded(started):
                    self._do(action, self._services.invite, recorded, action)
            case Replace(entry) if action in plan(self._store.get(self._id), now, self._thawed_at).actions:  # still due
                await self._replace(entry, now)
            case Remove(identity, trespasser):
                if session := await self._recorded(ev.RemovalStarted(now, identity, trespasser)):
                    self._do(action, self._io.remove, session, identity, trespasser)
            case ListRoom():
                if session := await self._recorded(ev.ListingStarted(now)):
                    self._do(action, self._io.list_room, session, asked_at=now)
            case CleanUp():
                if session := await self._recorded(ev.CleanUpStarted(now)):
                    self._do(action, self._io.clean_up, session)
            case CheckDeadline():
                await self._record(ev.DeadlinePassed(now))
            case Purge():
                await self._store.remove(self._id)

    async def _replace(self, entry: int, now: float) -> None:
        session = self._store.get(self._id)
        service, failed = session.services[entry], session.services[entry].current
        decision = self._replacer.decide(session, entry, now)
        # A service that is only late may be so because of us: it has not failed yet.
        is_only_late = failed.overdue_since is not None and isinstance(decision, ev.ReplacementHeld)
        if not is_only_late and not failed.declined:
            self._services.report_outcome(entry, failed, succeeded=False)
        try:
            recorded = await self._recorded(decision)
        except Full:
            instead = decision.instead if isinstance(decision, ev.InviteStarted) else None
            service_id = None if instead is None else instead.service_id
            await self._record(self._replacer.held_as_full(session, entry, service_id, now))
            return
        if recorded is None or isinstance(decision, ev.ReplacementHeld):
            return
        if decision.attempt != failed.number:
            about = {"service_id": service.service_id, "attempt": failed.number, "state": failed.state}
            by = recorded.services[entry].service_id
            log.warning("service_replaced", by=by, reason=failed.shortfall, **about)
            if not failed.refused:
                self._services.tell_session_ended(recorded, service, REPLACED)
        invite = SendInvite(entry, decision.attempt, decision.tries)
        self._do(invite, self._services.invite, recorded, invite)

    def _record(self, event: ev.Event) -> Awaitable[Session]:
        return self._store.update(self._id, event)

    async def _recorded(self, event: ev.Event) -> Session | None:
        """Record `event` and return the session; None if it changed nothing, so that the action must be skipped."""
        change = await self._store.change(self._id, event)
        return None if change.changes_nothing else change.session

    def _do(self, action: Action, io: Callable[P, Awaitable[ev.Event | None]], *args: P.args, **more: P.kwargs) -> None:
        """Run an action's I/O in a task and record its outcome. Nothing is called if the task is cancelled at once."""

        async def do() -> None:
            with suppress(UnknownSession, NotActing):
                outcome = await io(*args, **more)
                if outcome is not None:
                    session = await self._record(outcome)
                    if isinstance(outcome, ev.RoomCreated):
                        await asyncio.sleep(0)  # who waits for the room goes first: a join takes much longer
                        await self._io.take_job_of(outcome, session)

        self._tasks.spawn(do(), name=f"{self._id} {type(action).__name__}")
