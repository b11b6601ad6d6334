"""Carries out the plan of one session, then sleeps until the next wake-up or change.

For each action: record its start, do its I/O in a task, turn the outcome into an event. If the session does not record
the start, the action is skipped: it is no longer due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import stamina
import structlog

from manager_agent.clock import Clock
from manager_agent.control.replacement import Replacer
from manager_agent.control.room_status import publish_room_status
from manager_agent.livekit.server_api import LiveKitUnavailable, RoomMissing, Rooms, RoomTaken
from manager_agent.outbound.invites import InviteError, Inviter
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
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
from manager_agent.session.required_service import Attempt
from manager_agent.session.retries import invite_started
from manager_agent.session.session import RequiredService, ServiceState, Session
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

DELETE_TRIES, DELETE_TIMEOUT = 3, 10.0
SESSION_ENDED_TRIES, SESSION_ENDED_TIMEOUT = 3, 10.0
PAUSE_AFTER_FAULT = 1.0
REPLACED = "replaced"
"""The end reason sent to a service that was replaced by another instance."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What control loops work with; shared by all of a process."""

    store: Store
    rooms: Rooms
    inviter: Inviter
    registry: Registry
    replacer: Replacer
    identities: Identities
    clock: Clock


class ControlLoop:
    def __init__(self, session_id: str, backends: Backends, tasks: Tasks) -> None:
        self._id = session_id
        self._backends, self._tasks = backends, tasks
        self._store, self._rooms, self._clock = backends.store, backends.rooms, backends.clock
        self._publishing: asyncio.Task[None] | None = None
        self._reported: set[tuple[int, int, bool]] = set()

    async def run(self) -> None:
        """Run until the session is removed from the store."""
        self._bind_context(self._store.get(self._id))
        while True:
            try:
                await self._step()
            except UnknownSession:
                return
            except Exception:
                log.exception("drive_fault")
                await asyncio.sleep(PAUSE_AFTER_FAULT)

    def _bind_context(self, session: Session) -> None:
        """Bind log lines to the session instead of the request that opened it. This changes only the context of the
        control loop's own task."""
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        opened_by = {} if request_id is None else {"opened_by": request_id}
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**session.log_fields, **opened_by)

    async def _step(self) -> None:
        session, now = self._store.get(self._id), self._clock()
        for entry, service in enumerate(session.services):
            if service.timeline.joined is not None:
                self._backends.replacer.record_join(service.current.ref, service.timeline.joined)
            if service.state is ServiceState.READY:
                self._report_outcome(entry, service.current, succeeded=True)
        due = plan(session, now)
        for action in due.actions:
            await self._begin(action, now)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(due.wake_at - now, 3600.0)):
                await self._store.wait_for(self._id, lambda latest: latest is not session)

    async def _begin(self, action: Action, now: float) -> None:
        match action:
            case CreateRoom():
                if await self._recorded(ev.RoomRequested(now)):
                    first = ev.ManagerDispatched(now, 1, self._backends.identities.manager(self._id, 1))
                    self._do(action, self._create_room(await self._record(first)))
            case DispatchManager(attempt):
                identity = self._backends.identities.manager(self._id, attempt)
                if session := await self._recorded(ev.ManagerDispatched(now, attempt, identity)):
                    self._do(action, self._dispatch_manager(session))
            case SendInvite(entry, attempt, tries):
                identities, session = self._backends.identities, self._store.get(self._id)
                started = invite_started(identities, session, entry, attempt=attempt, tries=tries, at=now)
                if recorded := await self._recorded(started):
                    self._do(action, self._invite(recorded, action))
            case Replace(entry) if action in plan(self._store.get(self._id), now).actions:  # still due
                await self._replace(entry, now)
            case Remove(identity):
                if session := await self._recorded(ev.RemovalStarted(now, identity)):
                    self._do(action, self._remove(session, identity))
            case ListRoom():
                if session := await self._recorded(ev.ListingStarted(now)):
                    self._do(action, self._list_room(session, asked_at=now))
            case CleanUp():
                if session := await self._recorded(ev.CleanUpStarted(now)):
                    self._do(action, self._clean_up(session))
            case CheckDeadline():
                await self._record(ev.DeadlinePassed(now))
            case Purge():
                self._store.remove(self._id)

    async def _replace(self, entry: int, now: float) -> None:
        session = self._store.get(self._id)
        service, failed = session.services[entry], session.services[entry].current
        decision = self._backends.replacer.decide(session, entry, now)
        # A service that is only late may be so because of us: it has not failed yet.
        is_only_late = failed.overdue_since is not None and isinstance(decision, ev.ReplacementHeld)
        if not is_only_late and not failed.declined:
            self._report_outcome(entry, failed, succeeded=False)
        recorded = await self._recorded(decision)
        if recorded is None or isinstance(decision, ev.ReplacementHeld):
            return
        if decision.attempt != failed.number:
            about = {"service_id": service.service_id, "attempt": failed.number, "state": failed.state}
            by = recorded.services[entry].service_id
            log.warning("service_replaced", by=by, reason=failed.shortfall, **about)
            if not failed.refused:
                self._tell_session_ended(recorded, service, REPLACED)
        invite = SendInvite(entry, decision.attempt, decision.tries)
        self._do(invite, self._invite(recorded, invite))

    def _report_outcome(self, entry: int, attempt: Attempt, *, succeeded: bool) -> None:
        """Report to the registry, once per attempt, whether the instance succeeded."""
        outcome = (entry, attempt.number, succeeded)
        if outcome in self._reported:
            return
        self._reported.add(outcome)
        report = self._backends.registry.report_success if succeeded else self._backends.registry.report_failure
        report(attempt.ref)

    def _record(self, event: ev.Event) -> Awaitable[Session]:
        return self._store.update(self._id, event)

    async def _recorded(self, event: ev.Event) -> Session | None:
        """Record `event` and return the session; None if it changed nothing, so that the action must be skipped."""
        before = self._store.get(self._id)
        after = await self._record(event)
        return None if after is before else after

    def _do(self, action: Action, io: Coroutine[Any, Any, ev.Event | None]) -> None:
        """Run an action's I/O in a task and record its outcome. The I/O handles its own errors."""

        async def do() -> None:
            outcome = await io
            if outcome is not None:
                with suppress(UnknownSession):
                    await self._record(outcome)

        self._tasks.spawn(do(), name=f"{self._id} {type(action).__name__}")

    # --- the I/O of each action: takes the session, returns the event of the outcome, if any --------

    async def _create_room(self, session: Session) -> ev.Event:
        try:
            sid = await self._rooms.create(session)
        except RoomTaken:
            return ev.RoomRefused(self._clock(), taken=True)
        except Exception as error:
            log.warning("room_not_created", error=str(error))
            return ev.RoomRefused(self._clock())
        log.info("room_created", sid=sid)
        room_status = publish_room_status(
            self._id, session.revision, store=self._store, rooms=self._rooms, clock=self._clock
        )
        self._publishing = self._tasks.spawn(room_status, name=f"{self._id} room status")
        return ev.RoomCreated(self._clock(), sid)

    async def _dispatch_manager(self, session: Session) -> ev.Event | None:
        attempt = session.manager.attempt
        log.warning("manager_dispatched_again", dispatch=attempt)
        try:
            await self._rooms.dispatch_manager(session, attempt)
        except RoomMissing:
            return ev.RoomClosed(self._clock(), session.room.sid)
        except Exception as error:
            log.warning("manager_not_dispatched", dispatch=attempt, error=str(error))
        return None  # the outcome is that the manager joins

    async def _invite(self, session: Session, invite: SendInvite) -> ev.Event:
        service = session.services[invite.entry]
        about = {"service_id": service.service_id, "attempt": invite.attempt, "tries": invite.tries}
        key = (invite.entry, invite.attempt, invite.tries)
        try:
            await self._backends.inviter.invite(session, invite.entry)
        except InviteError as refused:
            log.warning("invite_refused", why=refused.why, detail=str(refused), final=refused.final, **about)
            if refused.why is ev.Refusal.UNREACHABLE:
                self._report_outcome(invite.entry, service.current, succeeded=False)
            if refused.final:
                self._backends.registry.retire(service.current.ref)
            outcome: ev.Event = ev.InviteRefused(self._clock(), *key, refused.why, refused.final)
        except Exception:
            log.exception("invite_fault", **about)
            outcome = ev.InviteRefused(self._clock(), *key, ev.Refusal.UNREACHABLE)
        else:
            outcome = ev.InviteAccepted(self._clock(), *key)
        latest = self._store.get(self._id)
        if latest.end is not None:
            self._tell_session_ended(latest, service, latest.end.reason)  # only now: it must not overtake the invite
        return outcome

    async def _list_room(self, session: Session, *, asked_at: float) -> ev.Event:
        try:
            listing = await self._rooms.list_participants(session.room_name)
        except RoomMissing:
            return ev.RoomClosed(self._clock(), session.room.sid)
        except Exception as error:
            log.warning("room_not_listed", error=str(error))
            return ev.ListingFailed(self._clock(), asked_at)
        return ev.RoomListed(self._clock(), asked_at, listing.participants, listing.joining)

    async def _remove(self, session: Session, identity: str) -> ev.Event:
        stale_participant = session.stale_participant(identity)
        assert stale_participant is not None, "removals are recorded only for stale participants"
        about = stale_participant.log_fields
        try:
            await self._rooms.remove(session.room_name, identity)
        except Exception as error:
            log.warning("participant_not_removed", error=str(error), **about)
            await asyncio.sleep(PAUSE_AFTER_FAULT)
            return ev.RemovalEnded(self._clock(), identity, removed=False)
        log.info("participant_removed", **about)
        return ev.RemovalEnded(self._clock(), identity, removed=True)

    async def _clean_up(self, session: Session) -> ev.Event:
        """Tell the services in the background, on the first try only; wait for the final room status, delete the
        room."""
        if session.end is not None and session.end.clean_ups == 1:
            for service in session.services:
                attempt = service.current
                if attempt.number and not attempt.in_flight and attempt.refusal is not ev.Refusal.DECLINED:
                    self._tell_session_ended(session, service, session.end.reason)
        if self._publishing is not None:
            await asyncio.wait([self._publishing])
        # `refused` may mean that LiveKit created the room but its response was lost.
        may_exist = session.room.created_at is not None or session.room.refused
        try:
            if may_exist and not session.room.taken:
                await self._delete_room(session)
        except Exception as error:
            log.error("room_not_deleted", error=str(error))
            return ev.CleanUpFailed(self._clock())
        log.info("session_cleaned_up")
        return ev.CleanedUp(self._clock())

    async def _delete_room(self, session: Session) -> None:
        """Raises LiveKitUnavailable."""
        tries = stamina.retry_context(on=LiveKitUnavailable, attempts=DELETE_TRIES, timeout=DELETE_TIMEOUT)
        async for attempt in tries.with_name("delete room", (), {}):
            with attempt:
                await self._rooms.delete(session.room_name)

    def _tell_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        self._tasks.spawn(
            self._send_session_ended(session, service, reason), name=f"{self._id} session ended {service.service_id}"
        )

    async def _send_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        tries = stamina.retry_context(on=InviteError, attempts=SESSION_ENDED_TRIES, timeout=SESSION_ENDED_TIMEOUT)
        try:
            async for attempt in tries.with_name("session ended", (), {}):
                with attempt:
                    await self._backends.inviter.send_session_ended(session, service, reason)
        except InviteError as refused:
            about = {"service_id": service.service_id, "attempt": service.attempt}
            log.warning("farewell_refused", detail=str(refused), **about)
