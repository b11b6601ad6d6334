"""The I/O of each action of one session. Each method takes the session and returns the event of its outcome, if any; it
handles its own errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import stamina
import structlog

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.agent_jobs import AgentJobs
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.replacement import Replacer
from manager_agent.control.room_deletions import RoomDeletions
from manager_agent.control.room_status import RoomStatusWriter
from manager_agent.control.standstill import Standstill
from manager_agent.frozen import replace
from manager_agent.interfaces import warn_without_interface
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing, RoomReplaced
from manager_agent.livekit.join_slots import JoinsUnderWay, NewSessions
from manager_agent.livekit.server_api import Rooms, RoomTaken
from manager_agent.not_acting import NotActing
from manager_agent.outbound.fair_slots import TooManyWaiting
from manager_agent.outbound.invites import InviteError, Inviter
from manager_agent.records.records import Records
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.identities import Identities
from manager_agent.session.interruption import relieves_another
from manager_agent.session.plan import SendInvite
from manager_agent.session.presence_transitions import unlisted
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.recording import Recording
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

DELETE_TRIES, DELETE_TIMEOUT = 3, 10.0
SESSION_ENDED_TRIES, SESSION_ENDED_TIMEOUT = 3, 10.0
PAUSE_AFTER_FAULT = 1.0
MANAGER_AWAITED = 20.0
"""Seconds after a room was made in which it needs no manager."""
NEW_ROOM = "new"
"""In place of the sid of a room that is about to be made."""
CREATE_PATIENCE = 5.0
"""The most seconds for which LiveKit is asked again for a room while it is there and can't serve."""

TakeJob = Callable[[Session], Awaitable[None]]
"""Takes the job of the session's manager, which was just dispatched, before LiveKit offers it."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What a control loop works with. All of a process share it, except `store`, `io` and `writers`."""

    store: Store
    rooms: Rooms
    inviter: Inviter
    registry: Registry
    replacer: Replacer
    identities: Identities
    missed_rooms: MissedRooms
    recording: Recording
    records: Records
    io: Tasks
    """Carry out actions, and what goes on after them, such as the messages about the end of the session."""
    writers: Tasks
    """Write the record of the room."""
    deletions: RoomDeletions
    acting: ActingGate
    standstill: Standstill
    clock: Clock
    take_job: TakeJob | None
    """None: LiveKit's offer is awaited."""
    new_sessions: NewSessions
    joins: JoinsUnderWay


class ActionIO:
    def __init__(self, session_id: str, backends: Backends) -> None:
        self._id, self._backends = session_id, backends
        self._store, self._rooms, self._clock = backends.store, backends.rooms, backends.clock
        self._agent_jobs = AgentJobs(backends.store, backends.rooms, backends.clock)
        self._missed_rooms = backends.missed_rooms
        self._writer: RoomStatusWriter | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._reported: set[tuple[int, int, bool]] = set()
        self._excused: set[tuple[int, int]] = set()
        """The attempts whose latest try failed by a fault of LiveKit or ours: that says nothing about the instance."""

    async def create_room(self, session: Session) -> ev.Event:
        began = self._clock()
        patience = min(CREATE_PATIENCE, session.ready_deadline - began)
        try:
            sid = await self._rooms.create(session, patience=patience)
        except RoomTaken:
            return ev.RoomRefused(self._clock(), taken=True)
        except Exception as error:
            if self._backends.standstill.was_late_since(began):
                return await self.create_room(session)  # LiveKit may have made it
            log.warning("room_not_created", error=str(error))
            return ev.RoomRefused(self._clock())
        log.info("room_created", sid=sid)
        self.keep_recorded(session)
        return ev.RoomCreated(self._clock(), sid)

    async def make_room_again(self, session: Session) -> ev.Event:
        """Ask LiveKit for the room of a session whose room seems to be lost. The new room's record has from its first
        moment that the services are awaited."""
        manager = self._backends.identities.manager(self._id, session.manager.attempt + 1)
        remade = apply(session, ev.RoomCreated(self._clock(), NEW_ROOM, manager))
        try:
            sid = await self._rooms.create(replace(remade, room=replace(remade.room, sid="")))
        except RoomTaken:
            return ev.RoomRefused(self._clock(), taken=True)
        except Exception as error:
            log.warning("room_not_created", error=str(error))
            return ev.RoomRefused(self._clock())
        if sid == session.room.sid:
            log.info("room_found", sid=sid)
        else:
            log.info("room_created", sid=sid)
        return ev.RoomCreated(self._clock(), sid, manager)

    def keep_recorded(self, recorded: Session, *, has_status: bool = True) -> None:
        """Write the session's record on every change from now on. `recorded`: the session that it has now; unless
        `has_status`, its status may be older."""
        self._writer = RoomStatusWriter(
            store=self._store,
            rooms=self._rooms,
            recording=self._backends.recording,
            clock=self._clock,
            missed=self._room_missed,
            created=recorded,
            has_status=has_status,
        )
        self._publishing = self._backends.writers.spawn(self._writer.run(), name=f"{self._id} room status")

    async def dispatch_manager(self, session: Session) -> ev.Event | None:
        attempt = session.manager.attempt
        if relieves_another(session):
            log.info("manager_dispatched", dispatch=attempt)
        else:
            log.warning("manager_dispatched_again", dispatch=attempt)
            warn_without_interface()
        asked_at = self._clock()
        try:
            await self._rooms.dispatch_manager(session, attempt)
        except RoomMissing as missing:
            return self._room_missed(missing, asked_at)
        except Exception as error:
            log.warning("manager_not_dispatched", dispatch=attempt, error=str(error))
        else:
            await self._take_job(session)
        return None  # the outcome is that the manager joins

    async def take_job_of(self, created: ev.RoomCreated, session: Session) -> None:
        """Take the job of the manager that was dispatched with the room. `session`: once that is recorded.

        Not if the room may have been there, without this dispatch: the next process could not tell that the manager's
        identity is spent. A room that is asked for again is there if the session keeps its manager; one that is asked
        for first with a later dispatch may be there too, as another process has asked for it."""
        manager = session.manager
        was_made = created.manager == manager.identity if created.manager else manager.attempt == 1
        if was_made:
            await self._take_job(session)

    async def _take_job(self, session: Session) -> None:
        if self._backends.take_job is not None and session.manager.is_taken_at_once:
            await self._backends.take_job(session)

    async def invite(self, session: Session, invite: SendInvite) -> ev.Event:
        """Raises NotActing."""
        service = session.services[invite.entry]
        about = {"service_id": service.service_id, "attempt": invite.attempt, "tries": invite.tries}
        key = (invite.entry, invite.attempt, invite.tries)
        inviter = self._backends.inviter
        agent: str | None = None
        self._excused.add((invite.entry, invite.attempt))
        if invite.attempt > 1:  # the first is recorded with the room
            await self._backends.recording.until_recorded(self._id, timeout=None)
        try:
            async with inviter.slot(session, service):
                if self._is_over():
                    return ev.InviteRefused(self._clock(), *key, ev.Refusal.UNREACHABLE)  # it waited too long
                dispatch_id = await self._send_invite(session, invite.entry)
            if dispatch_id is not None:
                agent = await self._agent_jobs.agent_of(session, invite, dispatch_id)
            if agent is not None:
                self._backends.registry.report_worker(service.current.ref)
        except InviteError as refused:
            log.warning("invite_refused", why=refused.why, detail=str(refused), final=refused.final, **about)
            if refused.why is ev.Refusal.NO_WORKER:
                self._backends.registry.report_no_worker(service.current.ref)
            if not refused.is_livekits:
                self._excused.discard((invite.entry, invite.attempt))
            if refused.why is not ev.Refusal.DECLINED:
                self.report_outcome(invite.entry, service.current, succeeded=False)
            if refused.final:
                self._backends.registry.retire(service.current.ref)
            outcome: ev.Event = ev.InviteRefused(
                self._clock(), *key, refused.why, refused.final, detail=refused.public_detail
            )
        except NotActing:
            raise
        except Exception:
            log.exception("invite_fault", **about)
            outcome = ev.InviteRefused(self._clock(), *key, ev.Refusal.UNREACHABLE)
        else:
            self._excused.discard((invite.entry, invite.attempt))
            outcome = ev.InviteAccepted(self._clock(), *key, identity=agent or None)
        latest = self._store.get(self._id)
        if latest.end is not None:
            self.tell_session_ended(latest, service, latest.end.reason)  # only now: it must not overtake the invite
        return outcome

    async def _send_invite(self, session: Session, entry: int) -> str | None:
        """The id of the dispatch, if it is a dispatched agent. Raises InviteError.

        If this process was late meanwhile, a missing answer says nothing about the service. An invite by HTTP is sent
        again then: it may arrive twice."""
        is_dispatch = session.services[entry].agent_name is not None
        while True:
            await self._backends.acting.until_acting()
            began = self._clock()
            try:
                return await self._backends.inviter.invite(session, entry)
            except InviteError as error:
                was_late = self._backends.standstill.was_late_since(began)
                if error.why is not ev.Refusal.UNREACHABLE or not was_late or is_dispatch or self._is_over():
                    raise

    def _is_over(self) -> bool:
        try:
            return self._store.get(self._id).over
        except UnknownSession:
            return True

    async def list_room(self, session: Session, *, asked_at: float) -> ev.Event:
        try:
            return await self._list_room(session, asked_at)
        except Exception as error:
            log.warning("room_not_listed", error=str(error))
            return ev.ListingFailed(self._clock(), asked_at)

    async def _list_room(self, session: Session, asked_at: float) -> ev.Event:
        """Raises LiveKitUnavailable."""
        try:
            listing = await self._rooms.list_participants(session.room_name)
        except RoomMissing as missing:
            return await self._checked(self._room_missed(missing, asked_at))
        is_silent = _needs_an_answer(session, asked_at) and not await self._rooms.is_answering(session.room_name)
        if is_silent and session.room.silent_since is None:
            log.warning("room_silent")
        listed = ev.RoomListed(self._clock(), asked_at, listing.participants, listing.joining, is_silent)
        return await self._with_unlisted(listed)

    def _room_missed(self, missing: RoomMissing, asked_at: float) -> ev.RoomMissed:
        is_replaced = isinstance(missing, RoomReplaced)
        return self._missed_rooms.missed(self._store.get(self._id), asked_at, self._clock(), is_replaced=is_replaced)

    async def _checked(self, missed: ev.RoomMissed) -> ev.RoomMissed | ev.ListingFailed:
        """Ask the room's node before the session ends because LiveKit's lists lack its room. If it has the room, the
        lists were wrong. Raises LiveKitUnavailable."""
        confirmed, session = replace(missed, is_confirmed=True), self._store.get(self._id)
        if not apply(session, confirmed).over:
            return missed
        if not await self._rooms.has_room(session):
            return replace(confirmed, at=self._clock())
        if not session.listing_failures:
            log.warning("room_unlisted")
        return ev.ListingFailed(self._clock(), missed.asked_at)

    async def _with_unlisted(self, listed: ev.RoomListed) -> ev.RoomListed:
        """Ask the nodes for participants that would count as gone only because LiveKit's lists lack them. Those that a
        node has are neither present nor gone, until a list shows them. Raises LiveKitUnavailable."""
        session = self._store.get(self._id)
        if not (missing := unlisted(session, listed)):
            return listed
        answers = await asyncio.gather(*(self._rooms.has_participant(session.room_name, one) for one in missing))
        found = tuple(identity for identity, is_there in zip(missing, answers, strict=True) if is_there)
        if found:
            log.debug("participants_unlisted", identities=found)
        return replace(listed, at=self._clock(), joining=(*listed.joining, *found))

    async def remove(self, session: Session, identity: str, trespasser: str) -> ev.Event:
        stale = None if trespasser else session.stale_participant(identity)
        sid = trespasser or (stale and stale.removing)
        assert sid, "the removal was recorded"
        about = stale.log_fields if stale else {"identity": identity, "of_another_session": True}
        try:
            await self._rooms.remove(session.room_name, identity, sid, session_id=session.session_id)
        except Exception as error:
            log.warning("participant_not_removed", error=str(error), **about)
            return ev.RemovalEnded(self._clock(), identity, removed=False, trespasser=trespasser)
        log.info("participant_removed", **about)
        return ev.RemovalEnded(self._clock(), identity, removed=True, trespasser=trespasser)

    async def clean_up(self, session: Session) -> ev.Event:
        """Write the final room status once, or try to; tell the services in the background, on the first try only;
        delete the room once no manager is joining it."""
        if self._writer is not None:
            await self._writer.until_tried_last()
        if not self._backends.records.is_shared:  # otherwise the session is in Redis already
            await self._backends.records.committed()  # the session is in the records now, or still in its room
        if session.end is not None and session.end.clean_ups == 1:
            for service in session.services:
                attempt = service.current
                if attempt.number and not attempt.in_flight and attempt.refusal is not ev.Refusal.DECLINED:
                    self.tell_session_ended(session, service, session.end.reason)
        # `refused` may mean that LiveKit created the room but its response was lost.
        may_exist = session.room.created_at is not None or session.room.refused
        deleting_since: float | None = None
        try:
            if may_exist and not session.room.taken:
                # A join would make the room again, under a name that may be another session's by then.
                await self._backends.joins.ended(self._id)
                deleting_since = self._clock()
                await self._backends.deletions.run(self._id, self._delete_room(session))
        except Exception as error:
            log.error("room_not_deleted", error=str(error))
            return ev.CleanUpFailed(self._clock())
        self.forget_record()
        log.info("session_cleaned_up")
        return ev.CleanedUp(self._clock(), deleting_since)

    def forget_record(self) -> None:
        """The room is gone, or the session is not known any more."""
        if self._publishing is not None:
            self._publishing.cancel()
        self._backends.recording.close(self._id)

    async def _delete_room(self, session: Session) -> None:
        """Raises LiveKitUnavailable."""
        tries = stamina.retry_context(on=self._may_end, attempts=DELETE_TRIES, timeout=DELETE_TIMEOUT)
        async for attempt in tries.with_name("delete room", (), {}):
            with attempt:
                await self._rooms.delete(session.room_name, sid=session.room.only_sid, session_id=session.session_id)

    def _may_end(self, error: Exception) -> bool:
        """Whether this process may succeed where LiveKit was unavailable."""
        return isinstance(error, LiveKitUnavailable) and not self._backends.acting.is_superseded

    def report_outcome(self, entry: int, attempt: Attempt, *, succeeded: bool) -> None:
        """Report to the registry, once per attempt, whether the instance succeeded."""
        outcome = (entry, attempt.number, succeeded)
        is_excused = not succeeded and (entry, attempt.number) in self._excused
        if is_excused or outcome in self._reported:
            return
        self._reported.add(outcome)
        report = self._backends.registry.report_success if succeeded else self._backends.registry.report_failure
        report(attempt.ref)

    def tell_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        self._backends.io.spawn(
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
            log.warning("session_ended_refused", detail=str(refused), **about)
        except TooManyWaiting as dropped:
            log.debug("session_ended_dropped", detail=str(dropped), service_id=service.service_id)


def _needs_an_answer(session: Session, now: float) -> bool:
    """Whether to ask the room's node itself: no manager is in the room to notice that the node is dead. The first one
    is awaited for a while."""
    created_at = session.room.created_at
    is_overdue = created_at is not None and now >= created_at + MANAGER_AWAITED
    return not session.manager.presence.here and (session.ready_at is not None or is_overdue)
