"""The proxy in front of livekit-server that other tests use: faults apply as told, all else passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from livekit import api

from tests.live.conftest import KEY, SECRET, Site, StartStack
from tests.livekit_faults import (
    Hold,
    altered,
    answer_lost,
    dropped,
    emptied,
    failing,
    without_participant,
    without_room,
)
from tests.livekit_proxy import LiveKitProxy

pytestmark = pytest.mark.live


@pytest.fixture
async def livekit(proxy: LiveKitProxy) -> AsyncIterator[api.LiveKitAPI]:
    """LiveKit's server API through the proxy, without rooms before and afterwards."""
    async with api.LiveKitAPI(proxy.http_url, KEY, SECRET, failover=False) as livekit:
        await delete_rooms(livekit)
        yield livekit
        await delete_rooms(livekit)


async def delete_rooms(livekit: api.LiveKitAPI) -> None:
    for name in await rooms_in(livekit):
        await livekit.room.delete_room(api.DeleteRoomRequest(room=name))


async def make_room(livekit: api.LiveKitAPI, name: str) -> None:
    await livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=30))


async def rooms_in(livekit: api.LiveKitAPI) -> set[str]:
    return {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}


async def test_a_whole_session_runs_through_the_proxy(start_stack: StartStack, site: Site, proxy: LiveKitProxy) -> None:
    stack = await start_stack(site, LIVEKIT_SERVER_URL=proxy.url)
    bot = await stack.bot("echo")
    session = await stack.request("echo")
    await bot.invited()
    await bot.join()
    ready = await stack.until(session["session_id"], lambda latest: latest.manager.presence.here and latest.all_ready)
    assert [request.name for request in proxy.requests("CreateRoom")] == [ready.room_name]


async def test_one_answer_lacks_a_participant(start_stack: StartStack, site: Site, proxy: LiveKitProxy) -> None:
    stack = await start_stack(site)
    bot = await stack.bot("echo")
    session = await stack.request("echo")
    await bot.join(await bot.invited())
    ready = await stack.until(session["session_id"], lambda latest: latest.all_ready)
    identity = ready.services[0].identity or ""

    async def listed() -> list[str]:
        request = api.ListParticipantsRequest(room=ready.room_name)
        return [one.identity for one in (await through.room.list_participants(request)).participants]

    async with api.LiveKitAPI(proxy.http_url, KEY, SECRET) as through:
        fault = proxy.on("ListParticipants", altered(without_participant(identity)), times=1)
        assert identity not in await listed()
        assert identity in await listed()
        await fault.applied()
        proxy.on("ListParticipants", emptied, where=lambda request: request.room == ready.room_name)
        assert await listed() == []


async def test_answers_are_altered_until_the_fault_is_lifted(livekit: api.LiveKitAPI, proxy: LiveKitProxy) -> None:
    for name in ("kept", "hidden"):
        await make_room(livekit, name)
    fault = proxy.on("ListRooms", altered(without_room("hidden")))
    assert await rooms_in(livekit) == {"kept"}
    assert await rooms_in(livekit) == {"kept"}
    fault.lift()
    assert await rooms_in(livekit) == {"kept", "hidden"}


async def test_calls_fail_or_are_dropped_before_or_after_livekit_acts(
    livekit: api.LiveKitAPI, proxy: LiveKitProxy
) -> None:
    proxy.on("CreateRoom", failing(404, "not_found", "no such thing"), times=1)
    with pytest.raises(api.ServerError, match="no such thing"):
        await make_room(livekit, "failed")
    proxy.on("CreateRoom", dropped, times=1)
    with pytest.raises(aiohttp.ClientError):
        await make_room(livekit, "dropped")
    proxy.on("CreateRoom", answer_lost, times=1)
    with pytest.raises(aiohttp.ClientError):
        await make_room(livekit, "made")
    assert await rooms_in(livekit) == {"made"}


@pytest.mark.parametrize("answers", [False, True])
async def test_a_held_call_goes_on_when_released(livekit: api.LiveKitAPI, proxy: LiveKitProxy, answers: bool) -> None:
    proxy.on("ListRooms", hold := Hold(answers=answers), times=1)
    listing = asyncio.create_task(rooms_in(livekit))
    await hold.reached()
    await make_room(livekit, f"late-{answers}")
    hold.release()
    assert (f"late-{answers}" in await listing) is not answers


async def test_refused_connections_are_accepted_again(livekit: api.LiveKitAPI, proxy: LiveKitProxy) -> None:
    await rooms_in(livekit)
    await proxy.refuse()
    with pytest.raises(aiohttp.ClientError):
        await rooms_in(livekit)
    await proxy.accept()
    await rooms_in(livekit)
