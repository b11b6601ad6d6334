"""Connects to a room within a bounded time.

A running connect must not be cancelled: if the native side finishes and no one takes the room, the SDK panics and ends
the process. So an abandoned connect runs to its end in the background and is then disconnected.
"""

from __future__ import annotations

import asyncio

from livekit import rtc

from manager_agent.livekit.signal_proxy import set_signal_proxy
from manager_agent.livekit_url import read_livekit_url

CONNECT_TIMEOUT = 10.0
LEAVE_TIMEOUT = 10.0
"""Seconds that leaving may take, including that of an abandoned connect."""

_background: set[asyncio.Task[None]] = set()
"""References to running disconnects, and to abandoned connects, until they are done."""


async def connect(room: rtc.Room, url: str, token: str, options: rtc.RoomOptions, timeout: float) -> None:
    """Connect `room`, or give up after `timeout` seconds. `url` as read_livekit_url() takes it.

    Raises ValueError, rtc.ConnectError, or TimeoutError. TimeoutError is raised only after the abandoned connect has
    left the room, or LEAVE_TIMEOUT seconds later, so that a successor does not meet it there.
    """
    url = read_livekit_url(url)
    set_signal_proxy(url)
    connecting = asyncio.create_task(room.connect(url, token, options), name="connect")
    try:
        async with asyncio.timeout(timeout):
            await asyncio.shield(connecting)
    except TimeoutError:
        await asyncio.wait([_abandon(room, connecting)], timeout=LEAVE_TIMEOUT)
        raise
    except asyncio.CancelledError:
        _abandon(room, connecting)
        raise


async def drain(timeout: float) -> None:
    """Wait up to `timeout` seconds for abandoned connects: if the loop cancelled them, the SDK would panic."""
    if _background:
        await asyncio.wait(_background, timeout=timeout)


async def disconnect(room: rtc.Room) -> None:
    """Leave the room within LEAVE_TIMEOUT, even if the server hangs."""
    leaving = asyncio.create_task(room.disconnect(), name="disconnect")
    _background.add(leaving)
    leaving.add_done_callback(_background.discard)
    await asyncio.wait([leaving], timeout=LEAVE_TIMEOUT)


def _abandon(room: rtc.Room, connecting: asyncio.Task[None]) -> asyncio.Task[None]:
    leaving = asyncio.create_task(_leave_when_connected(room, connecting), name="abandoned connect")
    _background.add(leaving)
    leaving.add_done_callback(_background.discard)
    return leaving


async def _leave_when_connected(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    await asyncio.wait([connecting])
    if not connecting.cancelled() and connecting.exception() is None:
        await room.disconnect()
