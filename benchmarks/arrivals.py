"""A livekit-server whose webhooks tell when a manager has joined each room."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import hdrs, web
from livekit import api

from benchmarks.one_service import listening
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

KEY, SECRET = "devkey", "secret"
TIMEOUT = 15.0
"""Seconds. A manager that has not joined by then counts as lost. The slowest to join took about three."""


class Arrivals:
    """When a manager joined each room, according to the server's webhooks."""

    def __init__(self) -> None:
        self._rooms: dict[str, asyncio.Future[float]] = {}

    async def of(self, room: str, patience: float | None = TIMEOUT) -> float | None:
        """Wait until the room's manager has joined. Returns the instant; None if it has not joined after so long."""
        arrival = self._rooms[room] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(arrival, patience)
        except TimeoutError:
            return None

    def receive(self, webhook: bytes) -> None:
        at, told = time.monotonic(), json.loads(webhook)
        if told["event"] == "participant_joined":
            arrival = self._rooms.get(told["room"]["name"])
            if arrival and not arrival.done():
                arrival.set_result(at)


@asynccontextmanager
async def livekit_server(
    folder: Path, arrivals: Arrivals, manager_port: int | None = None
) -> AsyncIterator[LiveKitServer]:
    """Run a server whose webhooks tell `arrivals`, and are passed on to the session manager on this port, if any."""
    manager_url = f"http://127.0.0.1:{manager_port}/livekit/webhook"
    async with aiohttp.ClientSession() as http:

        async def receive(request: web.Request) -> web.Response:
            webhook = await request.read()
            arrivals.receive(webhook)
            if manager_port is not None:
                signature = {name: request.headers[name] for name in (hdrs.AUTHORIZATION, hdrs.CONTENT_TYPE)}
                with suppress(aiohttp.ClientError):  # it is killed before the server
                    async with http.post(manager_url, data=webhook, headers=signature):
                        pass
            return web.Response()

        async with listening(receive) as webhook_url:
            binary, log = await asyncio.to_thread(find_or_build), folder / f"livekit-server-{manager_port}.log"
            async with LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=log) as server:
                yield server


async def room_names(livekit: api.LiveKitAPI) -> list[str]:
    """Of all rooms: the session manager has one for itself besides those of its sessions."""
    return [room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms]


async def delete_rooms(url: str) -> None:
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit:
        for name in await room_names(livekit):
            await livekit.room.delete_room(api.DeleteRoomRequest(room=name))
