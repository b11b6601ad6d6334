"""Continues the sessions of an earlier process of this deployment, from LiveKit's rooms alone.

A room's record (control/room_status.py) and the listing of its participants make the session. Then it goes on like any
other: plan.py says what is missing, such as a manager. A room whose record can't be read is left alone, and read again
later: LiveKit's lists may lag behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from manager_agent.acting_gate import ActingGate
from manager_agent.backoff import doubling
from manager_agent.clock import Clock
from manager_agent.control.manager_turns import TURN_TIMEOUT, ManagerTurns
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.recorded_session import recorded_session, to_continue
from manager_agent.frozen import replace
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.records.records import Records
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.session import SessionState
from manager_agent.session.specification import DamagedSpecification, NewerSpecification
from manager_agent.session.transitions import apply
from manager_agent.store.store import SessionUnreadable, Store, UnknownSession

log = structlog.get_logger()

AT_ONCE = 16
"""Rooms that are read at the same time."""
ROUNDS_MAX = 5
"""Rounds after which recovery counts as complete although some rooms could not be read: LiveKit lists the rooms of a
killed node for hours. The reconciler goes on trying; until then their sessions are not unknown."""
RETRY_PAUSE = 1.0
"""Seconds until LiveKit is asked again for what it did not answer."""
READS_BELIEVED = 3
"""A record that looks damaged is believed to be so after this many reads. Until then its session may still be found."""
READ_AGAIN, READ_AGAIN_MAX = 10.0, 600.0
"""Seconds until an unreadable room is read again. Doubles with every read, up to the maximum."""


@dataclass(frozen=True, slots=True)
class UnreadableRoom:
    """A room of this deployment whose session can't be continued."""

    name: str
    sid: str
    why: str
    reads: int
    is_believed: bool
    """Whether its session counts as unknown. LiveKit's list may have lacked the dispatches of a new room."""
    read_again_at: float


class Restorable(Protocol):
    async def restore(self) -> None:
        """Take over what an earlier process has put into the records and is not known here."""


class Recovery:
    def __init__(
        self,
        *,
        records: Records,
        store: Store,
        rooms: Rooms,
        orchestrator: Orchestrator,
        identities: Identities,
        acting: ActingGate,
        clock: Clock,
        turns: ManagerTurns | None = None,
        is_leader: Callable[[], bool] = lambda: True,
        caught_up: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`turns`: shared with others that continue sessions; None: there are none. `is_leader`: whether this replica
        does what only one may do: the others leave rooms without a session to it. `caught_up`: see Reconciler."""
        self._is_leader, self._caught_up = is_leader, caught_up
        self._records = records
        self._from_records: Sequence[Restorable] = ()
        self._has_records = False
        self._store, self._rooms, self._orchestrator = store, rooms, orchestrator
        self._identities, self._acting, self._clock = identities, acting, clock
        self._completed = asyncio.Event()
        self._unread: dict[str, ListedRoom] | None = None
        """The listed rooms whose sessions may still be recovered, by sid; None: no room is listed yet."""
        self._under_way: set[str] = set()
        """The sids of the rooms that are being read."""
        self._unreadable: dict[str, UnreadableRoom] = {}
        """By sid, as long as LiveKit lists them."""
        self._unlisted: set[str] = set()
        """The sids of those that the latest listing lacks."""
        self._recovered = 0
        self._turns = turns or ManagerTurns(store, clock)
        self._running: asyncio.Task[None] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it was tried to recover every session that an earlier process left behind."""
        return self._completed.is_set()

    async def completed(self) -> None:
        """Wait until it is complete."""
        await self._completed.wait()

    @property
    def unreadable(self) -> Sequence[UnreadableRoom]:
        """The rooms that are left alone."""
        return [room for room in self._unreadable.values() if room.is_believed]

    def restore_first(self, *kept: Restorable) -> None:
        """Restore these in this order once this process acts, before any session is recovered: until it acts another
        one may write the records. Call it before `start`."""
        self._from_records = kept

    async def start(self) -> None:
        """Begin to recover, in the background, once this process may act."""
        self._running = asyncio.create_task(self._run(), name="recovery")

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        await self._turns.aclose()

    def may_find(self, is_wanted: Callable[[ListedRoom], bool]) -> bool:
        """Whether the session of such a room may still be recovered."""
        return self._unread is None or any(map(is_wanted, self._unread.values()))

    def may_find_session(self, session_id: str) -> bool:
        """Whether this session may still be recovered."""
        return self.may_find(lambda room: room.session_id == session_id)

    def listed(self, ours: Collection[ListedRoom]) -> None:
        """LiveKit lists these rooms of this deployment now. Sessions whose rooms are gone are not found any more.
        Unreadable rooms are forgotten when two listings in a row lack them."""
        if self._unread is not None:
            self._unread = {room.sid: room for room in ours if room.sid in self._unread}
        unlisted = self._unreadable.keys() - {room.sid for room in ours}
        for sid in unlisted & self._unlisted:
            del self._unreadable[sid]
        self._unlisted = unlisted

    async def _run(self) -> None:
        await self._acting.until_acting()
        await self._records.take_over(self._acting.turn)
        await self._restore_records()
        self._has_records = True
        for _ in range(ROUNDS_MAX):
            rooms = await self._list_rooms() if self._is_leader() else []
            self._unread = {room.sid: room for room in rooms if not self._is_settled(room)}
            await self._recover_all(sorted(self._unread.values(), key=_urgency))
            if not self._unread:
                break
            await asyncio.sleep(RETRY_PAUSE)
        self._completed.set()
        if self._recovered or self._unreadable:
            log.info("recovered", sessions=self._recovered, unreadable=len(self.unreadable))

    async def _restore_records(self) -> None:
        for kept in self._from_records:
            try:
                await kept.restore()
            except Exception:  # what is lost by an error in one of them must not keep the sessions from going on
                log.exception("recovery_fault", records=type(kept).__name__)

    async def _list_rooms(self) -> Sequence[ListedRoom]:
        """The rooms of this deployment, once LiveKit lists them."""
        while True:
            try:
                rooms = [room for room in await self._rooms.list_rooms() if room.is_ours]
                if self._caught_up is not None:
                    await self._caught_up()
                return rooms
            except (LiveKitUnavailable, NotActing) as error:
                log.warning("not_recovered_yet", error=str(error))
            except Exception:
                log.exception("recovery_fault")
            await asyncio.sleep(RETRY_PAUSE)

    async def _recover_all(self, rooms: Sequence[ListedRoom]) -> None:
        """Recover the sessions of these rooms, as far as LiveKit lets us read them."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def read(room: ListedRoom) -> None:
            async with slots:
                try:
                    await self.recover(room)
                except LiveKitUnavailable as error:
                    log.warning("not_recovered_yet", room=room.name, sid=room.sid, error=str(error))
                except Exception:
                    log.exception("recovery_fault", room=room.name, sid=room.sid)

        await asyncio.gather(*map(read, rooms))

    async def recover(self, room: ListedRoom) -> None:
        """Continue the session of this room, which is ours, unless it is known already, the room is gone, or it must be
        left alone. One that could not be read is read again when that is due. Nothing is recovered before the records
        were read: the session may be over. Raises LiveKitUnavailable."""
        if not self._has_records or self.is_known(room) or room.sid in self._under_way or not self._is_due(room):
            return
        self._under_way.add(room.sid)
        try:
            await self._recover(room)
        finally:
            self._under_way.discard(room.sid)
        if self._unread is not None and self._is_settled(room):
            self._unread.pop(room.sid, None)

    async def _recover(self, room: ListedRoom) -> None:
        asked_at = self._clock()
        try:
            recorded = await self._rooms.recorded_dispatches(room.name)
            listing = await self._rooms.list_participants(room.name)
        except RoomMissing:
            return
        now = self._clock()
        try:
            session = recorded_session(
                room,
                recorded,
                self._identities,
                origin=self._rooms.clock_origin,
                livekit_ahead=self._rooms.livekit_clock.ahead,
                now=now,
                dispatch_at=now + TURN_TIMEOUT,
            )
            asked = replace(to_continue(session, room), listing_since=asked_at)
            listed = ev.RoomListed(now, asked_at, listing.participants, listing.joining)
            apply(asked, listed)  # an error in it is found here
        except (DamagedSpecification, NewerSpecification) as error:
            self._leave_alone(room, error)
            return
        except Exception as error:  # one such room must not keep the others from being recovered
            log.exception("recovery_fault", room=room.name, sid=room.sid)
            self._leave_alone(room, ValueError(f"an error of this program: {error!r}"))
            return
        self._unreadable.pop(room.sid, None)
        self._recovered += 1
        self._rooms.tokens.reserve_again(session, now)
        try:
            await self._orchestrator.resume(asked, recorded=session)
        except NotActing:  # another replica has the session
            return
        # What happened while no process ran is a change like any other, and reported. Nothing else runs before it.
        await self._store.update(session.session_id, listed)
        self._turns.bring(session.session_id)

    def is_unreadable(self, room: ListedRoom) -> bool:
        """Whether its record is believed not to be readable."""
        found = self._unreadable.get(room.sid)
        return found is not None and found.is_believed

    def _is_due(self, room: ListedRoom) -> bool:
        found = self._unreadable.get(room.sid)
        return found is None or self._clock() >= found.read_again_at

    def is_known(self, room: ListedRoom) -> bool:
        """Whether its session is known here, also if it is over."""
        try:
            self._store.get(room.session_id)
        except SessionUnreadable:
            return True
        except UnknownSession:
            return False
        return True

    def _is_settled(self, room: ListedRoom) -> bool:
        return self.is_known(room) or self.is_unreadable(room)

    def _leave_alone(self, room: ListedRoom, error: ValueError) -> None:
        before, now = self._unreadable.get(room.sid), self._clock()
        reads = 1 if before is None else before.reads + 1
        is_believed = not isinstance(error, DamagedSpecification) or reads >= READS_BELIEVED
        pause = doubling(reads, first=READ_AGAIN, most=READ_AGAIN_MAX) if is_believed else 0.0
        self._unreadable[room.sid] = UnreadableRoom(room.name, room.sid, str(error), reads, is_believed, now + pause)
        if not is_believed or (before is not None and before.is_believed):
            return
        match error:
            case NewerSpecification():
                hint = "it is of a newer version of this program: upgrade, or wait until it closes"
            case _:
                hint = "it is left alone, and read again later; delete it in LiveKit if it is not needed"
        about = {"room": room.name, "sid": room.sid, "session_id": room.session_id}
        log.error("room_unreadable", why=str(error), hint=hint, **about)


def _urgency(room: ListedRoom) -> bool:
    """Rooms in which services are awaited come first: they get their managers first."""
    return room.status is None or room.status.state is not SessionState.WAITING
