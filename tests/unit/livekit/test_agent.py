"""The manager agent ends in time, and leaves no connection open, also if its AgentServer does not close."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import aiohttp
import pytest
from livekit.agents.utils.http_server import HttpServer

from manager_agent.livekit import agent
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.session.identities import Identities
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from tests.always_acting import always_acting
from tests.unit.waits import never, until

pytestmark = pytest.mark.unit


class StuckServer:
    """An AgentServer that waits for LiveKit to assign a job while it closes."""

    def __init__(self) -> None:
        self._http_session = aiohttp.ClientSession()
        self._http_server = HttpServer("127.0.0.1", 0)
        self.is_closing = False

    async def run(self) -> None:
        await self._http_server.start()
        await never()

    async def aclose(self) -> None:
        self.is_closing = True
        await never()


async def test_an_agent_server_that_does_not_close_is_left_without_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers: list[StuckServer] = []

    def make_server(**_: Any) -> StuckServer:
        servers.append(StuckServer())
        return servers[-1]

    monkeypatch.setattr(agent, "_imported_make_server", lambda: make_server)
    monkeypatch.setattr(agent, "CLOSE_TIMEOUT", 0.01)
    store = MemoryStore(time.time)
    manager = ManagerAgent(
        url="ws://127.0.0.1:1",
        api_key="key",
        api_secret="secret",
        agent_name="session-manager",
        store=store,
        identities=Identities("secret"),
        recording=Recording(store),
        rooms=cast(Rooms, None),
        acting=always_acting(),
        clock=time.time,
        livekit_clock=LiveKitClock(time.time),
    )
    await manager.start()
    [server] = await until(lambda: servers, lambda started: bool(started and started[0]._http_server.port))
    await manager.aclose()
    assert server.is_closing
    assert server._http_session.closed
    assert server._http_server._runner is None, "its health page listens no more"
    await until(lambda: "manager agent" not in {task.get_name() for task in asyncio.all_tasks()})
