"""Keeps the record of a session in its room up to date: the status in the room's metadata, which is public, and the
specification, which is not. Another process can continue the session from these two (recovery.py).

Every change is written. Fast changes are written together, unless a caller waits for one; the final status is always
written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from manager_agent.clock import Clock
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.session.specification import Specification, SpecificationTooLong
from manager_agent.store.recording import Recording, RoomRecord
from manager_agent.store.store import Store

log = structlog.get_logger()

GATHERED = 0.1
"""Seconds from a change until it is written, with those that follow it, unless a caller waits for it: an answer would
have to wait for a write that has just begun, and then for its own."""
WRITES, PER_SECONDS = 5, 1.0
"""The maximum writes to one room in that many seconds, unless a caller waits for one."""
PAUSE_AFTER_FAILURE = 1.0


class RoomStatusWriter:
    """Writes the record of one room."""

    def __init__(
        self,
        *,
        store: Store,
        rooms: Rooms,
        recording: Recording,
        clock: Clock,
        missed: Callable[[RoomMissing, float], ev.RoomMissed],
        created: Session,
        has_status: bool = True,
    ) -> None:
        """`missed` makes the event for a room that LiveKit did not know when asked at an instant. `created`: the
        session as it was recorded when the room was created, or as another process left it; unless `has_status`, its
        status may be older. From now on acknowledgements wait for the record."""
        self._store, self._rooms, self._recording, self._clock = store, rooms, recording, clock
        self._missed = missed
        self._session_id = created.session_id
        self._specification: Specification | None = Specification.of(created)
        self._too_long: Specification | None = None
        """The one that could not be written last."""
        self._room_sid = created.room.sid
        """The room whose record has this specification; empty: the first one."""
        self._record = recording.open(created.session_id)
        if has_status:
            self._record.wrote(created, [])
        self._tried_last = asyncio.Event()
        """Set once it was tried to write the final status, or it will not be tried."""

    async def until_tried_last(self) -> None:
        """Wait until it was tried to write the final status, or it will not be tried. Call it once the session is
        over."""
        self._record.hurry()
        await self._tried_last.wait()

    async def run(self) -> None:
        """Write the session on every change, until the final status of an ended session is written, the room is gone or
        another process acts for the session."""
        try:
            await self._write_changes(self._session_id, self._record)
        except NotActing:
            return
        finally:
            self._tried_last.set()
        self._recording.close(self._session_id)

    async def _write_changes(self, session_id: str, record: RoomRecord) -> None:
        written: deque[float] = deque(maxlen=WRITES)
        while True:
            if len(written) == WRITES:
                await record.pause(written[0] + PER_SECONDS - self._clock())
            session = await self._store.wait_for(
                session_id, lambda latest: latest.over or record.is_awaited or record.lacks(latest)
            )
            if not (session.over or record.is_awaited):
                await record.pause(GATHERED)
                session = self._store.get(session_id)
            waiting, asked_at = record.begin_write(session), self._clock()
            try:
                await self._write(session)
            except RoomMissing as missing:
                record.put_back(waiting)
                if session.over:
                    return
                await self._store.update(session_id, self._missed(missing, asked_at))
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
                continue
            except SpecificationTooLong:
                record.put_back(waiting)
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
                continue
            except Exception as error:
                record.put_back(waiting)
                write = log.warning if isinstance(error, LiveKitUnavailable) else log.exception
                write("status_not_written", error=str(error))
                if session.over:
                    self._tried_last.set()
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
                continue
            record.wrote(session, waiting)
            written.append(self._clock())
            if session.over:
                return

    async def _write(self, session: Session) -> None:
        """Raises RoomMissing, LiveKitUnavailable, SpecificationTooLong.

        A status without its specification would have the progress of an instance that is not recorded. So none is
        written then, except the final one."""
        specification = Specification.of(session)
        if self._room_sid not in ("", session.room.sid):
            self._specification = None  # it was made again, with the specification of that moment
        if specification != self._specification:
            try:
                await self._rooms.record_specification(session)
            except SpecificationTooLong as error:  # by the address of another instance
                if specification != self._too_long:
                    log.error("specification_not_written", error=str(error))
                self._too_long = specification
                if not session.over:
                    raise
            else:
                self._specification = specification
        self._room_sid = session.room.sid
        await self._rooms.show_status(session)
