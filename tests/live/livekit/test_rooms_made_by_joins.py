"""LiveKit makes a room for a manager that joins when there is none: its token marks that room, and no other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from livekit import api, rtc

from manager_agent.frozen import replace
from manager_agent.livekit.room_connection import CONNECT_TIMEOUT, connect, disconnect
from manager_agent.livekit.room_watcher import OPTIONS
from manager_agent.livekit.server_api import Rooms
from manager_agent.session.session import Session
from scripts.free_ports import free_port
from scripts.livekit_server import LiveKitServer
from tests.running_rooms import KEY, SECRET, running_rooms
from tests.unit import sessions as given
from tests.waiting import eventually

pytestmark = pytest.mark.live


@pytest.fixture
async def livekit(livekit_binary: Path, tmp_path: Path) -> AsyncIterator[LiveKitServer]:
    """With room.auto_create, so that any join makes a room."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    server = LiveKitServer(livekit_binary, port=free_port(), webhook_url=nowhere, log=tmp_path / "server.log")
    path = tmp_path / "server.config.yaml"
    config = yaml.safe_load(path.read_text())
    config["room"]["auto_create"] = True
    path.write_text(yaml.safe_dump(config))
    async with server:
        yield server


@pytest.fixture
async def rooms(livekit: LiveKitServer) -> AsyncIterator[Rooms]:
    async with running_rooms(livekit.url) as rooms:
        yield rooms


def cleaned_up() -> Session:
    """One whose room was deleted."""
    session = given.after(given.a_session(), *given.created())
    return replace(session, room=replace(session.room, sid="RM_deleted"))


def token(rooms: Rooms, session: Session, of: str) -> str:
    if of == "a job taken at once":
        return rooms.tokens.for_manager(session, given.MANAGER, "sm/1").jwt
    grants = api.VideoGrants(room_join=True, room=session.room_name, hidden=True, agent=True, can_publish=False)
    livekits = api.AccessToken(KEY, SECRET).with_identity(given.MANAGER).with_kind("agent").with_grants(grants)
    return rooms.tokens.marked(livekits.to_jwt(), session.session_id)


@pytest.mark.parametrize("of", ["a job taken at once", "a job offered by LiveKit"])
@pytest.mark.parametrize("made_by", ["the join", "another application"])
async def test_room_is_deleted_only_if_the_managers_join_made_it(
    livekit: LiveKitServer, rooms: Rooms, of: str, made_by: str
) -> None:
    session, room = cleaned_up(), rtc.Room()
    if made_by == "another application":
        await rooms._livekit.room.create_room(api.CreateRoomRequest(name=session.room_name))
    await connect(room, livekit.url, token(rooms, session, of), OPTIONS, CONNECT_TIMEOUT)
    try:
        [before] = await rooms.list_rooms()
        await rooms.delete_what_came_back(session, given.MANAGER)
        if made_by == "another application":
            assert await rooms.list_rooms() == [before]
        else:
            await eventually("the room to be gone", rooms.list_rooms, lambda listed: not listed)
    finally:
        await disconnect(room)
