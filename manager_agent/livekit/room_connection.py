"""Joining a room within a bounded time.

A connect that is under way must not be cancelled: when the native side finishes and nobody takes the room, the
SDK panics and ends the process. So one that is given up is left to finish, and what comes of it is disconnected.
"""

from __future__ import annotations

import asyncio

from livekit import rtc

CONNECT_TIMEOUT = 10.0
LEAVE_TIMEOUT = 10.0
"""Seconds that leaving may take, also of a connect that was given up."""

_given_up: set[asyncio.Task[None]] = set()
"""Keeps connects that nobody waits for any more until they are done."""


async def connect(room: rtc.Room, url: str, token: str, options: rtc.RoomOptions, timeout: float) -> None:
    """Connects `room`, or gives up after `timeout` seconds.

    Raises rtc.ConnectError, or TimeoutError. The latter is raised only once nothing is left of the connect in
    the room, or LEAVE_TIMEOUT seconds later: whoever comes in its place is not to meet it there.
    """
    connecting = asyncio.create_task(room.connect(url, token, options), name="connect")
    try:
        async with asyncio.timeout(timeout):
            await asyncio.shield(connecting)
    except TimeoutError:
        await asyncio.wait([_give_up(room, connecting)], timeout=LEAVE_TIMEOUT)
        raise
    except asyncio.CancelledError:
        _give_up(room, connecting)
        raise


async def drain(timeout: float) -> None:
    """Waits for what is left of connects that were given up: cancelled with the loop, they end the process."""
    if _given_up:
        await asyncio.wait(_given_up, timeout=timeout)


async def disconnect(room: rtc.Room) -> None:
    """Leaves the room within LEAVE_TIMEOUT: a server that hangs does not answer a goodbye."""
    leaving = asyncio.create_task(room.disconnect(), name="disconnect")
    _given_up.add(leaving)
    leaving.add_done_callback(_given_up.discard)
    await asyncio.wait([leaving], timeout=LEAVE_TIMEOUT)


def _give_up(room: rtc.Room, connecting: asyncio.Task[None]) -> asyncio.Task[None]:
    leaving = asyncio.create_task(_leave_when_connected(room, connecting), name="leave late")
    _given_up.add(leaving)
    leaving.add_done_callback(_given_up.discard)
    return leaving


async def _leave_when_connected(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    await asyncio.wait([connecting])
    if not connecting.cancelled() and connecting.exception() is None:
        await room.disconnect()
