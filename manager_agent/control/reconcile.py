"""Periodically compares our sessions with LiveKit's rooms: recovers the sessions of rooms that no session owns, deletes
those whose session is over, and records which rooms are not listed. Rooms that are not ours are never touched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.recovery import Recovery
from manager_agent.control.unowned_rooms import UnownedRooms
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.session.session import Session
from manager_agent.store.store import SessionUnreadable, Store, UnknownSession

log = structlog.get_logger()

INTERVAL, JITTER = 10.0, 0.2
"""Seconds between two rounds, and the share by which they vary at random."""


class Reconciler:
    def __init__(
        self,
        *,
        store: Store,
        rooms: Rooms,
        missed_rooms: MissedRooms,
        recovery: Recovery,
        acting: ActingGate,
        clock: Clock,
        is_leader: Callable[[], bool] | None = None,
        caught_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`is_leader`: whether this replica does what only one may do; None: there are no others. `caught_up`: waits
        until the sessions of all replicas are known here, and raises NotActing if they can't be."""
        self._is_leader, self._caught_up = is_leader or (lambda: acting.may_act), caught_up
        self._store, self._rooms, self._clock = store, rooms, clock
        self._recovery = recovery
        self._missed_rooms, self._unowned = missed_rooms, UnownedRooms()
        self.is_answered = True
        """Whether LiveKit answered the last listing of rooms."""
        self._running: asyncio.Task[None] | None = None
        self._is_due = asyncio.Event()

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="reconcile")

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def begin_now(self) -> None:
        """Compare now, instead of when it is due."""
        self._is_due.set()

    async def round(self) -> None:
        """Compare once. Raises LiveKitUnavailable, NotActing."""
        asked_at = self._clock()
        listed = await self._list()
        if self._caught_up is not None:
            await self._caught_up()  # a session is known before its room can be listed
        for session in list(self._store.list()):
            if is_missed(session, listed, asked_at):
                await self._record_missed(session, listed, asked_at)
        ours = [room for room in listed if room.is_ours]
        self._recovery.listed(ours)
        abandoned = await asyncio.gather(*map(self._is_abandoned, ours))
        unowned = [room for room, is_abandoned in zip(ours, abandoned, strict=True) if is_abandoned]
        # LiveKit may hang for some rooms: those of a node that was killed.
        deleting = [self._delete(room, tries) for room, tries in self._unowned.due(unowned, asked_at)]
        removing = [self._remove_old_token_holders(room) for room in listed if not self._is_owned(room)]
        await asyncio.gather(*deleting, *removing)

    async def _delete(self, room: ListedRoom, tries: int) -> None:
        """Delete a room. One that can't be deleted is logged at the 1st, 2nd, 4th, 8th ... try."""
        about = {"room": room.name, "sid": room.sid, "session_id": room.session_id, "tries": tries}
        is_logged = tries & (tries - 1) == 0
        if is_logged:
            log.warning("room_reaped", **about)
        try:
            await self._rooms.delete(room.name, sid=room.sid, session_id=room.session_id)
        except LiveKitUnavailable as error:
            if is_logged:
                log.warning("room_not_reaped", error=str(error), **about)

    @property
    def undeletable(self) -> int:
        """The number of rooms that LiveKit did not delete in several tries: those of sessions that are over, and rooms
        of ours without a session."""
        left = sum(session.end is not None and session.end.has_room_left for session in self._store.list())
        return left + self._unowned.undeletable

    async def _remove_old_token_holders(self, room: ListedRoom) -> None:
        about = {"room": room.name, "sid": room.sid}
        try:
            for identity in await self._rooms.remove_old_token_holders(room):
                log.warning("old_token_holder_removed", identity=identity, **about)
        except RoomMissing:
            return
        except LiveKitUnavailable as error:
            log.warning("old_token_holders_not_removed", error=str(error), **about)

    async def _run(self) -> None:
        with suppress(LiveKitUnavailable):  # the first round says what is wrong then
            await self._list()  # at once, so that keys which LiveKit rejects are known at the start
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL * random.uniform(1 - JITTER, 1 + JITTER)):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                await (self.round() if self._is_leader() else self._list())
            except NotActing as error:
                log.warning("not_reconciled", error=str(error))
            except LiveKitUnavailable as error:
                log.warning("not_reconciled", error=str(error))
            except Exception:
                log.exception("reconcile_fault")

    async def _list(self) -> Sequence[ListedRoom]:
        try:
            listed = await self._rooms.list_rooms()
        except LiveKitUnavailable:
            self.is_answered = False
            raise
        self.is_answered = True
        return listed

    async def _is_abandoned(self, room: ListedRoom) -> bool:
        """Whether a room of ours may be deleted. One whose session is not known here is recovered first, and left alone
        if that fails: people may be in it."""
        if self._is_owned(room):
            return False
        if not self._recovery.is_unreadable(room) and (self._recovery.is_known(room) or room.is_over):
            return True
        try:
            await self._recovery.recover(room)
        except LiveKitUnavailable as error:
            log.warning("not_recovered_yet", room=room.name, sid=room.sid, error=str(error))
        return False

    def _is_owned(self, room: ListedRoom) -> bool:
        """Whether its session is here and not cleaned up yet; the cleanup deletes the room itself."""
        try:
            session = self._store.get(room.session_id)
        except SessionUnreadable:
            return True
        except UnknownSession:
            return False
        if session.room.only_sid not in ("", room.sid):
            return True  # its metadata names the session, but the session's room is another one
        return session.end is None or session.end.cleaned_at is None

    async def _record_missed(self, session: Session, listed: Sequence[ListedRoom], asked_at: float) -> None:
        is_replaced = any(room.name == session.room_name for room in listed)
        missed = self._missed_rooms.missed(session, asked_at, self._clock(), is_replaced=is_replaced)
        try:
            await self._store.update(session.session_id, missed)
        except UnknownSession:
            return


def is_missed(session: Session, listed: Sequence[ListedRoom], asked_at: float) -> bool:
    """Whether the session's room was created before LiveKit was asked, and is not listed."""
    created_at = session.room.created_at
    if session.over or created_at is None or created_at >= asked_at:
        return False
    return all(room.sid != session.room.sid for room in listed)
