"""A livekit-server, a session manager as a process of its own behind proxies, its services and a receiver of callbacks:
where the runs of a campaign take place, one after the other."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from livekit import api
from yarl import URL

from scripts.free_ports import PortNotFreeError, free_port, require_free
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from tests.byte_proxy import ByteProxy
from tests.chaos.disturbances import Victim
from tests.chaos.room_watch import OutsideWatch
from tests.chaos.scripted_client import ApiCaller
from tests.chaos.scripted_site import ScriptedSite
from tests.live.conftest import KEY, SECRET, Site
from tests.live.manager_process import ManagerProcess
from tests.livekit_faults import Behavior, Call, ConnectionCut
from tests.livekit_proxy import LiveKitProxy

OWN_PORTS = 10_000, 20_000
OBSERVED = (
    "CreateRoom",
    "CreateDispatch",
    "DeleteDispatch",
    "ListDispatch",
    "ListParticipants",
    "UpdateRoomMetadata",
    "RemoveParticipant",
    "DeleteRoom",
)


class ChaosSite(ScriptedSite):
    """`folder`: for logs and the state of the session manager."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        binary = await asyncio.to_thread(find_or_build)
        port, log = _own_port(), self._folder / "livekit.log"
        webhooks = await enter(ByteProxy(port))
        webhook_url = f"http://127.0.0.1:{webhooks.port}/livekit/webhook"
        server = await enter(LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=log))
        livekit = await enter(api.LiveKitAPI(server.http_url, KEY, SECRET))
        proxy = await enter(LiveKitProxy(server.http_url))
        for method in OBSERVED:
            proxy.on(method, self._observe())
        connections = await enter(ByteProxy(URL(proxy.url).port or 0))
        self.url = f"http://127.0.0.1:{port}"
        self.api = ApiCaller(self.url)
        await self.start_services(self._stack, self.url)
        environment = {
            "LIVEKIT_SERVER_URL": f"ws://127.0.0.1:{connections.port}",
            "LIVEKIT_PUBLIC_URL": server.url,
            "SERVICE_JOIN_TIMEOUT": "30",
            "READY_TIMEOUT": "240",
            "STATE_DIR": str(self._folder),
        }
        self.manager = await enter(
            ManagerProcess(Site(server, port), port=port, log=self._folder / "manager.log", **environment)
        )
        self.victim = Victim(self.manager, (connections, webhooks), server)
        await self.register_services()
        self.watch = await enter(OutsideWatch(livekit, self.ledger))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.happenings.let_go()
        await self._stack.aclose()

    async def listens(self) -> float:
        """Wait until the API answers anything. Returns the time of the monotonic clock."""
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.url}/livez"):
                        return time.monotonic()
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)

    def _observe(self) -> Behavior:
        async def behavior(call: Call) -> Any:
            facts = _facts_of(call)
            if await self.happenings.happens(f"{call.method} sent", **facts):
                raise ConnectionCut
            answer = await call.ask()
            if await self.happenings.happens(f"{call.method} answered", **facts):
                raise ConnectionCut
            return answer

        return behavior


def _own_port() -> int:
    """A port that no test takes while the session manager is down: they all take those of free_port()."""
    while True:
        port = random.randrange(*OWN_PORTS)
        with suppress(PortNotFreeError):
            require_free(port, "SERVER_PORT")
            return port


def _facts_of(call: Call) -> dict[str, Any]:
    match call.method:
        case "UpdateRoomMetadata":
            return {"status": _status(call.request.metadata)}
        case "CreateDispatch":
            return {"agent_name": call.request.agent_name}
        case _:
            return {}


def _status(metadata: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(metadata) if metadata else {}
    return {"state": "", "progress": {"services": []}} | status
