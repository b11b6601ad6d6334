"""Continues the sessions of an earlier process of this deployment, from LiveKit's rooms alone.

A room's record (control/room_status.py) and the listing of its participants make the session. Then it goes on like any
other: plan.py says what is missing, such as a manager. A room whose record can't be read is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from manager_agent.clock import Clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.livekit.server_api import Listing, LiveKitUnavailable, RoomMissing, Rooms
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.progress import SessionProgress, resumed
from manager_agent.session.session import Session
from manager_agent.session.specification import DamagedSpecification, NewerSpecification, Specification
from manager_agent.session.transitions import apply
from manager_agent.store.store import Store, UnknownSession

log = structlog.get_logger()

AT_ONCE = 16
"""Rooms that are read at the same time."""
ROUNDS_MAX = 5
"""Rounds after which recovery counts as complete although some rooms could not be read: LiveKit lists the rooms of a
killed node for hours. The reconciler goes on trying."""
RETRY_PAUSE = 1.0
"""Seconds until LiveKit is asked again for what it did not answer."""
CLOCKS_AGREE = 60.0
"""Seconds by which the clocks of two machines may differ without a correction; LiveKit may take a while to create a
room."""
MANAGERS_PER_SECOND = 15.0
"""Managers are dispatched to recovered rooms at this rate: about as many joins as one process can make in a second."""

UNRECORDED_REVISIONS = 1000
"""More than the changes that an earlier process can have shown to clients without recording them. A revision never
stands for two states: clients compare revisions as entity tags."""


@dataclass(frozen=True, slots=True)
class UnreadableRoom:
    """A room of this deployment whose session can't be continued."""

    name: str
    sid: str
    why: str


class Recovery:
    def __init__(
        self, *, store: Store, rooms: Rooms, orchestrator: Orchestrator, identities: Identities, clock: Clock
    ) -> None:
        self._store, self._rooms, self._orchestrator = store, rooms, orchestrator
        self._identities, self._clock = identities, clock
        self.is_complete = False
        """Whether every session that an earlier process left behind is known."""
        self._unreadable: dict[str, UnreadableRoom] = {}
        self._recovered = 0
        self._running: asyncio.Task[None] | None = None

    @property
    def unreadable(self) -> Sequence[UnreadableRoom]:
        """The rooms that are left alone."""
        return list(self._unreadable.values())

    async def start(self) -> None:
        """Begin to recover, in the background."""
        self._running = asyncio.create_task(self._run(), name="recovery")

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        unread = await self._list_rooms()
        for _ in range(ROUNDS_MAX):
            unread = await self._recover_all(unread)
            if not unread:
                break
            await asyncio.sleep(RETRY_PAUSE)
        self.is_complete = True
        if self._recovered or self._unreadable:
            log.info("recovered", sessions=self._recovered, unreadable=len(self._unreadable))

    async def _list_rooms(self) -> Sequence[ListedRoom]:
        """The rooms of this deployment, once LiveKit lists them."""
        while True:
            try:
                return [room for room in await self._rooms.list_rooms() if room.is_ours]
            except LiveKitUnavailable as error:
                log.warning("not_recovered_yet", error=str(error))
                await asyncio.sleep(RETRY_PAUSE)

    async def _recover_all(self, rooms: Sequence[ListedRoom]) -> Sequence[ListedRoom]:
        """Recover the sessions of these rooms. Returns the rooms that LiveKit did not let us read."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def is_read(room: ListedRoom) -> bool:
            async with slots:
                try:
                    await self.recover(room)
                except LiveKitUnavailable as error:
                    log.warning("not_recovered_yet", room=room.name, sid=room.sid, error=str(error))
                    return False
                return True

        outcomes = await asyncio.gather(*map(is_read, rooms))
        return [room for room, read in zip(rooms, outcomes, strict=True) if not read]

    async def recover(self, room: ListedRoom) -> bool:
        """Continue the session of this room, which is ours, unless it is known already. Returns whether it is known
        now; if not, the room is gone or must be left alone. Raises LiveKitUnavailable."""
        if self.is_unreadable(room):
            return False
        if self.is_known(room):
            return True
        asked_at = self._clock()
        try:
            recorded = await self._rooms.recorded_dispatches(room.name)
            listing = await self._rooms.list_participants(room.name)
        except RoomMissing:
            return False
        try:
            session = self._session(room, recorded)
        except (DamagedSpecification, NewerSpecification) as error:
            self._leave_alone(room, error)
            return False
        except Exception as error:  # one such room must not keep the others from being recovered
            log.exception("recovery_fault", room=room.name, sid=room.sid)
            self._leave_alone(room, ValueError(f"an error of this program: {error!r}"))
            return False
        if self.is_known(room):  # recovered meanwhile
            return True
        self._recovered += 1
        self._orchestrator.resume(self._observed(session, listing, asked_at), recorded=session)
        return True

    def _session(self, room: ListedRoom, recorded: RecordedDispatches) -> Session:
        """The session as it was recorded. Raises DamagedSpecification, NewerSpecification."""
        if room.status is None or room.status.progress is None:
            raise DamagedSpecification("this version can't read in the room's metadata how far the session is")
        progress, specification = room.status.progress, Specification.newest(recorded.specifications)
        if specification.session_id != room.session_id:
            raise DamagedSpecification("the specification is another session's")
        now = self._clock()
        return resumed(
            specification.session(),
            progress.shifted(self._seconds_ahead(progress, room.created_at)),
            revision=room.status.revision + UNRECORDED_REVISIONS,
            room_sid=room.sid,
            manager_attempts=recorded.manager_attempts,
            identities=self._identities,
            now=now,
            dispatch_at=now + self._recovered / MANAGERS_PER_SECOND,
            dispatched_invites=recorded.invite_ids,
        )

    def _seconds_ahead(self, progress: SessionProgress, room_created_at: float) -> float:
        """Seconds by which our clock is ahead of that of the process that recorded this. Decision 0031.

        `room_created_at`: by LiveKit's clock, which is the one that processes on different machines have in common.
        """
        origin, created_at = self._rooms.clock_origin, progress.room_created or progress.created
        if origin is not None and (ahead := origin.ahead_of(progress.clock)) is not None:
            return ahead
        if created_at is None:
            return 0.0
        ahead = (room_created_at - created_at) - self._rooms.livekit_clock.ahead
        return ahead if abs(ahead) > CLOCKS_AGREE else 0.0

    def _observed(self, session: Session, listing: Listing, asked_at: float) -> Session:
        return apply(session, ev.RoomListed(self._clock(), asked_at, listing.participants, listing.joining))

    def is_unreadable(self, room: ListedRoom) -> bool:
        """Whether its record was found not to be readable."""
        return room.sid in self._unreadable

    def is_known(self, room: ListedRoom) -> bool:
        """Whether its session is known here, also if it is over."""
        try:
            self._store.get(room.session_id)
        except UnknownSession:
            return False
        return True

    def _leave_alone(self, room: ListedRoom, error: ValueError) -> None:
        match error:
            case NewerSpecification():
                hint = "it is of a newer version of this program: upgrade, or wait until it closes"
            case _:
                hint = "it is left alone; delete it in LiveKit if it is not needed"
        about = {"room": room.name, "sid": room.sid, "session_id": room.session_id}
        log.error("room_unreadable", why=str(error), hint=hint, **about)
        self._unreadable[room.sid] = UnreadableRoom(room.name, room.sid, str(error))
