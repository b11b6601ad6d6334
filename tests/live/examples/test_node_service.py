"""examples/node-service, a service that is not written in Python, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from manager_agent.messages import Evidence, SessionState
from manager_agent.outbound.signing import signature
from service_kit.conformance.scenario import session_ended
from tests import manager_stand_in
from tests.live.conftest import KEY, SECRET, Site, Stack, StartStack
from tests.live.node_example import SERVICE
from tests.manager_stand_in import ManagerStandIn, invite, invited_session
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live


class NodeService:
    """The running process. It prints what it does as JSON, one object a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<NodeService {self._process.pid} [{len(self.events)} events]>"

    def told(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of this name with these fields, so far."""
        return [told for told in self.events if told.items() >= {"event": event, **fields}.items()]

    async def tells(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first such event, once it is printed."""
        async with waiting_for(f"the event {event} {fields}", lambda: self.events), self._news:
            await self._news.wait_for(lambda: self.told(event, **fields) or self._reading.done())
        assert self.told(event, **fields), f"it ended without {event!r}: {self.events}"
        return self.told(event, **fields)[0]

    async def stop(self) -> int:
        """Send SIGTERM, read the rest of the output, and return the exit code."""
        self._process.terminate()
        async with waiting_for("the node service to end", lambda: self.events):
            await self._reading
            return await self._process.wait()

    async def aclose(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reading
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            print(line.decode(), end="")  # a failed test shows it
            async with self._news:
                self.events += [json.loads(line)] if line.startswith(b'{"event"') else []
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


@asynccontextmanager
async def node_service(folder: Path, manager_url: str, **variables: str) -> AsyncIterator[NodeService]:
    ours = ("SERVICE_", "INVITE_", "SESSION_MANAGER_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env = inherited | {"SESSION_MANAGER_URL": manager_url} | variables
    process = await asyncio.create_subprocess_exec(
        "node", "service.js", cwd=folder, env=env, stdout=PIPE, stderr=STDOUT
    )
    service = NodeService(process)
    try:
        yield service
    finally:
        await service.aclose()


@pytest.fixture
async def service(node_service_folder: Path, stack: Stack) -> AsyncIterator[NodeService]:
    """Registered with the stack of the test."""
    async with node_service(node_service_folder, stack.url) as service:
        await service.tells("registered")
        yield service


async def present(stack: Stack, room_name: str) -> set[str]:
    """The identities of the service in that room."""
    return {
        there.identity for there in await stack.participants(room_name) if there.identity.startswith(f"sm-{SERVICE}")
    }


async def test_node_service_waits_for_the_manager_signals_ready_and_leaves_at_the_end(
    node_service_folder: Path, start_stack: StartStack, site: Site
) -> None:
    async with node_service(node_service_folder, f"http://127.0.0.1:{site.api_port}") as service:
        await service.tells("not_registered_yet")
        stack = await start_stack(site)
        await service.tells("registered")
        session = await stack.request(SERVICE, prefer="wait=30")
        assert (session["state"], session["services"][0]["ready_by"]) == (SessionState.READY, Evidence.MESSAGE)
        joined = await service.tells("joined")
        assert await present(stack, session["room_name"]) == {joined["identity"]}
        async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
            assert answer.status == 200
        left = await service.tells("left", invite=joined["invite"])
        assert left["reason"] in ("closed", "ROOM_DELETED")  # whichever it hears of first


async def test_node_service_signals_ready_to_a_replacement_manager(service: NodeService, stack: Stack) -> None:
    session = await stack.request(SERVICE, prefer="wait=30")
    first = (await stack.until(session["session_id"], lambda s: s.manager.presence.here)).manager
    await service.tells("ready", manager=first.identity)
    await stack.livekit.room.remove_participant(
        api.RoomParticipantIdentity(room=session["room_name"], identity=first.identity or "")
    )
    latest = await stack.until(
        session["session_id"], lambda s: s.manager.presence.here and s.manager.identity != first.identity
    )
    await service.tells("ready", manager=latest.manager.identity)
    view = await stack.view(session["session_id"])
    assert (view["state"], view["services"][0]["attempt"]) == (SessionState.READY, 1)
    assert len(service.told("joined")) == 1


async def test_node_service_takes_a_signed_invite_once(node_service_folder: Path, silent_site: Site) -> None:
    server, room_name, identity = silent_site.livekit, f"node-{uuid.uuid4()}", f"sm-{SERVICE}-1"
    grants = api.VideoGrants(room_join=True, room=room_name, can_update_own_metadata=True)
    token = api.AccessToken(KEY, SECRET).with_identity(identity).with_kind("agent").with_grants(grants).to_jwt()
    session = invited_session(room_name=room_name)
    sent = invite(SERVICE, session=session, identity=identity, token=token, server_url=server.url)
    body = sent.model_dump_json().encode()
    keys = {"INVITE_API_KEY": manager_stand_in.KEY, "INVITE_API_SECRET": manager_stand_in.SECRET}
    async with (
        ManagerStandIn() as manager,
        api.LiveKitAPI(server.http_url, KEY, SECRET) as livekit,
        node_service(node_service_folder, manager.url, **keys) as service,
    ):
        await livekit.room.create_room(api.CreateRoomRequest(name=room_name))
        endpoint = (await service.tells("registered"))["endpoint"]
        own = manager_stand_in.KEY, manager_stand_in.SECRET
        forgeries = signature(body, own[0], SECRET), signature(body, KEY, own[1]), signature(b"{}", *own)
        for forged in ("", "no JWT", *forgeries):
            assert await manager.post(endpoint, body, forged) == 401
        assert await manager.post(endpoint, body + b" " * 65_536) == 413
        assert await manager.post(endpoint, invite("another-service")) == 422
        assert await asyncio.gather(*(manager.post(endpoint, sent) for _ in range(2))) == [200, 200]
        await service.tells("joined")
        assert await manager.post(endpoint, sent) == 200

        async def participants() -> list[str]:
            listing = await livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
            return [participant.identity for participant in listing.participants]

        assert await participants() == [identity]
        assert await manager.post(endpoint, session_ended(sent, reason="user_left")) == 200
        await service.tells("left", reason="user_left")
        await eventually("an empty room", participants, lambda found: not found)
        assert await manager.post(endpoint, sent) == 200, "the answer to the invite was lost"
        assert await service.stop() == 0
        assert [len(service.told(event)) for event in ("joined", "left", "visit_failed")] == [1, 1, 0]
        assert (len(manager.registrations), manager.removed) == (1, [SERVICE])
        assert manager.removed_endpoints == [endpoint]
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room_name))


async def test_stopped_node_service_deregisters_and_leaves_its_rooms(service: NodeService, stack: Stack) -> None:
    session = await stack.request(SERVICE, prefer="wait=30")
    assert len(await present(stack, session["room_name"])) == 1
    assert await service.stop() == 0
    async with stack.http.get(f"/api/v1/microservices/{SERVICE}") as answer:
        assert answer.status == 404
    await service.tells("left", reason="service_stopped")
    assert await present(stack, session["room_name"]) == set()


async def test_node_service_sends_its_api_key_and_reports_a_refusal(node_service_folder: Path) -> None:
    async with ManagerStandIn() as manager:
        async with node_service(node_service_folder, manager.url, SESSION_MANAGER_API_KEY="sm_key") as service:
            await service.tells("registered")
            assert await service.stop() == 0
        assert (manager.removed, manager.proofs) == ([SERVICE], {"Bearer sm_key"})
        manager.answers = [401]
        async with node_service(node_service_folder, manager.url) as service:
            refused = await service.tells("not_registered")
        assert "SESSION_MANAGER_API_KEY is not accepted" in refused["why"]
        assert manager.proofs == {"Bearer sm_key", None}
        assert len(manager.registrations) == 2, "it is not tried again"


async def test_node_service_without_a_manager_can_be_stopped(node_service_folder: Path, site: Site) -> None:
    async with node_service(node_service_folder, f"http://127.0.0.1:{site.api_port}") as service:
        await service.tells("not_registered_yet")
        assert await service.stop() == 0
