"""The calls to LiveKit's server API, without a session manager around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from manager_agent.livekit.server_api import Rooms

KEY, SECRET = "devkey", "secret"
"""Of `livekit-server --dev`."""


def rooms_at(url: str) -> Rooms:
    """Not started."""
    return Rooms(url=url, services_url=url, api_key=KEY, api_secret=SECRET, agent_name="sm", deployment="default")


@asynccontextmanager
async def running_rooms(url: str) -> AsyncIterator[Rooms]:
    rooms = rooms_at(url)
    await rooms.start()
    try:
        yield rooms
    finally:
        await rooms.aclose()
