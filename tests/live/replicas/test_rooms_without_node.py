"""Rooms that LiveKit lists although no live node has them. It does not delete them when asked for nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from livekit import api

from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.server_api import Rooms
from tests.live.replicas.conftest import StartSite
from tests.live.replicas.replica_site import ReplicaSite
from tests.live.replicas.test_dead_machine import node_of
from tests.running_rooms import running_rooms
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

NAME = "left"


@pytest.fixture
async def site(start_site: StartSite) -> ReplicaSite:
    """LiveKit nodes alone."""
    return await start_site(replicas=0)


@pytest.fixture
async def rooms(site: ReplicaSite) -> AsyncIterator[Rooms]:
    async with running_rooms(site.livekit_url) as rooms:
        yield rooms


async def listed(rooms: Rooms) -> list[str]:
    return [room.name for room in await rooms.list_rooms()]


async def test_a_room_that_is_stored_again_after_its_deletion(site: ReplicaSite, rooms: Rooms) -> None:
    """As by a second node that had it too, when someone leaves it there."""
    room = await site.livekit.room.create_room(api.CreateRoomRequest(name=NAME, metadata="ours"))
    stored = await site.livekit_redis.command("HGET", "rooms", NAME)
    await rooms.delete(NAME, sid=room.sid, session_id="")
    await site.livekit_redis.command("HSET", "rooms", NAME, stored)
    assert await listed(rooms) == [NAME]
    await rooms.delete(NAME, sid=room.sid, session_id="")
    assert await listed(rooms) == []


async def test_a_room_of_a_node_that_was_killed(site: ReplicaSite, rooms: Rooms) -> None:
    room = await site.livekit.room.create_room(api.CreateRoomRequest(name=NAME))
    (await node_of(site, NAME)).kill()

    async def is_deleted() -> bool:
        try:
            await rooms.delete(NAME, sid=room.sid, session_id="")
        except LiveKitUnavailable:  # LiveKit does not know yet that the node is dead
            return False
        return True

    await eventually("the room to be deleted", is_deleted)
    assert await listed(rooms) == []
