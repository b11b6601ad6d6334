"""Publishes the session's status in its room's metadata, on every change. The final status is always written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from manager_agent.clock import Clock
from manager_agent.livekit.server_api import LiveKitUnavailable, RoomMissing, Rooms
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.store import Store

log = structlog.get_logger()

WRITES, PER_SECONDS = 5, 1.0
"""The maximum writes to one room in that many seconds. Faster changes are written together."""
PAUSE_AFTER_FAILURE = 1.0


async def publish_room_status(
    session_id: str, known: int, *, store: Store, rooms: Rooms, clock: Clock, missed: Callable[[float], ev.RoomMissed]
) -> None:
    """Write the session's status into its room on every change after revision `known`, until the final status of an
    ended session is written. `missed` makes the event for a room that LiveKit did not know when asked at an instant."""

    def has_changed(session: Session) -> bool:
        return session.over or session.revision > known

    written: deque[float] = deque(maxlen=WRITES)
    while True:
        if len(written) == WRITES:
            await asyncio.sleep(written[0] + PER_SECONDS - clock())
        session = await store.wait_for(session_id, has_changed)
        asked_at = clock()
        try:
            await rooms.show_status(session)
        except RoomMissing:
            if session.over:
                return
            await store.update(session_id, missed(asked_at))
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            continue
        except Exception as error:
            write = log.warning if isinstance(error, LiveKitUnavailable) else log.exception
            write("status_not_written", error=str(error))
            if session.over:
                return  # the room is about to be deleted
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            continue
        known = session.revision
        written.append(clock())
        if session.over:
            return
