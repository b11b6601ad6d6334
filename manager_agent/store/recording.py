"""What is acknowledged is recorded first: a token, an acknowledgement or a callback waits until the record of the
session's room in LiveKit has what it rests on.

The writer of each room (control/room_status.py) tells its RoomRecord what it writes. Those who wait while a write is
under way share it if it has what they wait for, and else the next one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from manager_agent.not_acting import NotActing
from manager_agent.session.progress import recorded_facts
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession

TIMEOUT = 10.0
"""Seconds. A record takes several calls, and LiveKit may be far away."""


class NotRecorded(Exception):
    """LiveKit does not take the record of a session at the moment. Retry after `retry_after` seconds."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("LiveKit could not record the session's state in time")


class RoomRecord:
    """What the record of one room has."""

    def __init__(self) -> None:
        self._written: Session | None = None
        self._being_written: Session | None = None
        """What the write that is under way has."""
        self._waiting: list[asyncio.Future[None]] = []
        self._served: list[asyncio.Future[None]] = []
        """Those who wait for the latest write that began, which may be under way."""
        self._is_wanted = asyncio.Event()

    def lacks(self, session: Session) -> bool:
        """Whether the record differs from what it should have for this session."""
        written = self._written
        if written is session:
            return False
        if written is None or recorded_facts(written) != recorded_facts(session):
            return True
        self._written = session
        return False

    def wrote(self, session: Session, waiting: list[asyncio.Future[None]]) -> None:
        """The record has this session now. `waiting`: those who wait for that."""
        self._written, self._being_written = session, None
        for future in waiting:
            if not future.done():
                future.set_result(None)

    @property
    def is_awaited(self) -> bool:
        """Whether anyone waits for the next write."""
        return bool(self._waiting)

    def begin_write(self, session: Session | None) -> list[asyncio.Future[None]]:
        """Those who wait for the next write, which begins now with this session (None: there is none). Others are added
        while it is under way."""
        waiting, self._waiting = [one for one in self._waiting if not one.done()], []
        self._is_wanted.clear()
        self._served, self._being_written = waiting, session
        return waiting

    def put_back(self, waiting: list[asyncio.Future[None]]) -> None:
        """The write failed."""
        self._being_written = None
        self._waiting = waiting + self._waiting

    def hurry(self) -> None:
        """The next write is the last one: it is not put off."""
        self._is_wanted.set()

    async def pause(self, seconds: float) -> None:
        """Sleep, but not while anyone waits for the next write."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_wanted.wait()

    async def wait(self, session: Session) -> None:
        """Wait until a write that has what the record should have for this session has succeeded: one that is under
        way, or one that begins after this call."""
        future = asyncio.get_running_loop().create_future()
        if self._being_written is not None and recorded_facts(self._being_written) == recorded_facts(session):
            self._served.append(future)
        else:
            self._waiting.append(future)
            self._is_wanted.set()
        await future

    def close(self) -> None:
        """Nothing is written any more: the room is about to be deleted, or is gone. A write under way may have been
        cancelled, so those who wait for it go on too."""
        for future in (*self._served, *self.begin_write(None)):
            if not future.done():
                future.set_result(None)


class Recording:
    """The records of all rooms of this process."""

    def __init__(self, store: Store, *, is_awaited: bool = True) -> None:
        """Unless `is_awaited`, nothing waits for the rooms' records: the store keeps every change elsewhere before it
        returns, and the rooms have second copies."""
        self._store, self._is_awaited = store, is_awaited
        self._rooms: dict[str, RoomRecord] = {}

    def open(self, session_id: str) -> RoomRecord:
        """The record of a room whose writer starts."""
        record = self._rooms[session_id] = RoomRecord()
        return record

    def close(self, session_id: str) -> None:
        """The final state is recorded, or the room is gone. There is nothing left to wait for."""
        record = self._rooms.pop(session_id, None)
        if record is not None:
            record.close()

    async def until_recorded(self, session_id: str, timeout: float | None = TIMEOUT) -> None:
        """Wait until the record has the session as it is now; return at once if its room is gone. Raises NotRecorded
        after `timeout` seconds, NotActing."""
        record = self._rooms.get(session_id) if self._is_awaited else None
        try:
            if record is None or not record.lacks(session := self._store.get(session_id)):
                return
        except UnknownSession:
            return
        self._refuse_when_frozen()
        try:
            async with asyncio.timeout(timeout):
                await record.wait(session)
        except TimeoutError:
            raise NotRecorded from None
        self._refuse_when_frozen()

    def freeze(self) -> None:
        """Another process writes the records from now on: those who wait here get NotActing. Call it once the store is
        frozen."""
        for record in self._rooms.values():
            record.close()

    def _refuse_when_frozen(self) -> None:
        if self._store.is_frozen:
            raise NotActing("another process of this deployment has taken over")

    async def until_all_recorded(self, timeout: float) -> list[str]:
        """Wait until every record has its session as it is now. Returns the ids of those without after `timeout`
        seconds."""
        session_ids = list(self._rooms)
        outcomes = await asyncio.gather(
            *(self.until_recorded(session_id, timeout) for session_id in session_ids), return_exceptions=True
        )
        return [each for each, outcome in zip(session_ids, outcomes, strict=True) if outcome is not None]
