"""The I/O of each action of one session, but for those that concern its services (service_io.py). Each method takes the
session and returns the event of its outcome, if any; it handles its own errors."""

from __future__ import annotations

import asyncio

import stamina
import structlog

from manager_agent.control.backends import Backends
from manager_agent.control.room_status import RoomStatusWriter
from manager_agent.control.service_io import ServiceIO
from manager_agent.frozen import replace
from manager_agent.interfaces import warn_without_interface
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing, RoomReplaced
from manager_agent.livekit.server_api import RoomTaken
from manager_agent.session import events as ev
from manager_agent.session.interruption import relieves_another
from manager_agent.session.presence_transitions import unlisted
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply

log = structlog.get_logger()

DELETE_TRIES, DELETE_TIMEOUT = 3, 10.0
MANAGER_AWAITED = 20.0
"""Seconds after a room was made in which it needs no manager."""
NEW_ROOM = "new"
"""In place of the sid of a room that is about to be made."""
CREATE_PATIENCE = 5.0
"""The most seconds for which LiveKit is asked again for a room while it is there and can't serve."""


class ActionIO:
    def __init__(self, session_id: str, backends: Backends, services: ServiceIO) -> None:
        self._id, self._backends, self._services = session_id, backends, services
        self._store, self._rooms, self._clock = backends.store, backends.rooms, backends.clock
        self._missed_rooms = backends.missed_rooms
        self._writer: RoomStatusWriter | None = None
        self._publishing: asyncio.Task[None] | None = None

    async def create_room(self, session: Session) -> ev.Event:
        """The room's record has from its first moment what follows from its creation, so that no answer waits for
        another write. Its instants are those of the request, until the next write."""
        began = self._clock()
        patience = min(CREATE_PATIENCE, session.ready_deadline - began)
        recorded = _once_made(session, began)
        try:
            sid = await self._rooms.create(recorded, patience=patience)
        except RoomTaken:
            return ev.RoomRefused(self._clock(), taken=True)
        except Exception as error:
            if self._backends.standstill.was_late_since(began):
                return await self.create_room(session)  # LiveKit may have made it
            log.warning("room_not_created", error=str(error))
            return ev.RoomRefused(self._clock())
        log.info("room_created", sid=sid)
        self.keep_recorded(recorded)
        return ev.RoomCreated(self._clock(), sid)

    async def make_room_again(self, session: Session) -> ev.Event:
        """Ask LiveKit for the room of a session whose room seems to be lost. The new room's record has from its first
        moment that the services are awaited."""
        manager = self._backends.identities.manager(self._id, session.manager.attempt + 1)
        recorded = _once_made(session, self._clock(), manager)
        try:
            sid = await self._rooms.create(recorded)
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
                    self._services.tell_session_ended(session, service, session.end.reason)
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


def _once_made(session: Session, at: float, manager: str = "") -> Session:
    """The session as the record of its new room has it from its first moment, before LiveKit has given it a sid."""
    made = apply(session, ev.RoomCreated(at, NEW_ROOM, manager))
    return replace(made, room=replace(made.room, sid=""))


def _needs_an_answer(session: Session, now: float) -> bool:
    """Whether to ask the room's node itself: no manager is in the room to notice that the node is dead. The first one
    is awaited for a while."""
    created_at = session.room.created_at
    is_overdue = created_at is not None and now >= created_at + MANAGER_AWAITED
    return not session.manager.presence.here and (session.ready_at is not None or is_overdue)
