"""Calls of LiveKit's server API carry the tokens that livekit-api would make."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit import api

from manager_agent.livekit.jws import unverified_claims
from manager_agent.livekit.server_api import Rooms
from manager_agent.livekit.unsigned_api import UnsignedAPI
from tests.running_rooms import KEY, SECRET, running_rooms
from tests.unit import sessions as given

pytestmark = pytest.mark.unit

ROOM = "demo"
GRANTS = [api.VideoGrants(room_list=True), api.VideoGrants(room_create=True), api.VideoGrants(True, room=ROOM)]


@pytest.mark.parametrize("grants", GRANTS, ids=["list", "create", "admin"])
async def test_a_token_has_the_grants_that_livekit_api_gives_it(grants: api.VideoGrants) -> None:
    theirs = unverified_claims(api.AccessToken(KEY, SECRET).with_grants(grants).to_jwt())
    async with aiohttp.ClientSession() as http:
        services = UnsignedAPI("http://livekit.example", KEY, http)
        for service in (services.room, services.agent_dispatch):
            header = service._auth_header(grants)["Authorization"]
            ours = unverified_claims(header.removeprefix("Bearer "))
            assert (ours["iss"], ours["video"]) == (theirs["iss"], theirs["video"])


async def test_every_request_arrives_signed() -> None:
    video = dict[str, api.VideoGrants | None]()

    async def answer(request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        video[request.path.rpartition("/")[2]] = api.TokenVerifier(KEY, SECRET).verify(token).video
        return web.Response(body=b"", content_type="application/protobuf")

    app = web.Application()
    app.router.add_post("/twirp/{method:.*}", answer)
    async with TestServer(app) as server, running_rooms(str(server.make_url(""))) as rooms:
        await calls_of(rooms)
    assert {method for method, grants in video.items() if grants and grants.room_list} == {"ListRooms"}
    admin = {method for method, grants in video.items() if grants and grants.room_admin and grants.room == ROOM}
    assert admin == {"ListDispatch", "DeleteDispatch"}


async def calls_of(rooms: Rooms) -> None:
    await rooms.list_rooms()
    await rooms.recorded_dispatches(ROOM)
    await rooms.delete_dispatch(given.a_session(), "AD_1")
