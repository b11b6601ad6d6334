"""The room's metadata as the notice board of its session: written at every change, the last one always."""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from manager_agent.clock import Clock
from manager_agent.livekit.server_api import LiveKitUnavailable, RoomMissing, Rooms
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.store import Store

log = structlog.get_logger()

WRITES, PER_SECONDS = 5, 1.0
"""So many writes to one room in so long a time: changes that come faster are told together."""
PAUSE_AFTER_FAILURE = 1.0


async def keep_room_informed(session_id: str, told: int, *, store: Store, rooms: Rooms, clock: Clock) -> None:
    """Writes the session's status into its room at every change after revision `told`, until the session is
    over and that is written too, or the room is gone."""

    def news(session: Session) -> bool:
        return session.over or session.revision > told

    written: deque[float] = deque(maxlen=WRITES)
    while True:
        if len(written) == WRITES:
            await asyncio.sleep(written[0] + PER_SECONDS - clock())
        session = await store.wait_for(session_id, news)
        try:
            await rooms.show_status(session)
        except RoomMissing:
            await store.update(session_id, ev.RoomClosed(clock(), session.room.sid))
            return
        except Exception as error:
            write = log.warning if isinstance(error, LiveKitUnavailable) else log.exception
            write("status_not_written", error=str(error))
            if session.over:
                return  # the room is about to be deleted; nobody can read it any more
            await asyncio.sleep(PAUSE_AFTER_FAILURE)
            continue
        told = session.revision
        written.append(clock())
        if session.over:
            return
