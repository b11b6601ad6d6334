"""Services that join the rooms they are invited into, and do nothing else. Runs as a separate process of gate.py.

    python -m benchmarks.joining_services PORT

An invite is posted to any path of the port. The answer is given at once; when the service has joined, it prints
`joined <room> <instant>`. The services leave when the room is deleted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings

from aiohttp import web
from livekit import rtc

from benchmarks.child import say
from benchmarks.served import served_until_closed
from manager_agent.livekit.ffi import disable_log_capture

OPTIONS = rtc.RoomOptions(auto_subscribe=False)


class JoiningServices:
    def __init__(self) -> None:
        self._rooms: set[rtc.Room] = set()
        self._joining: set[asyncio.Task[None]] = set()

    async def receive(self, request: web.Request) -> web.Response:
        message = json.loads(await request.text())
        if message["event"] == "session_invited":
            joining = self._join(message["server_url"], message["token"], message["session"]["room_name"])
            task = asyncio.create_task(joining)
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)
        return web.Response()

    async def _join(self, url: str, token: str, name: str) -> None:
        room = rtc.Room()
        room.on("disconnected", lambda _: self._rooms.discard(room))
        self._rooms.add(room)
        await room.connect(url, token, OPTIONS)
        say(f"joined {name} {time.time()}")


async def serve(port: int) -> None:
    """Serve until stdin is closed."""
    app, services = web.Application(), JoiningServices()
    app.router.add_post("/{service}", services.receive)
    await served_until_closed(app, port)


if __name__ == "__main__":
    disable_log_capture()
    warnings.simplefilter("ignore")
    asyncio.run(serve(int(sys.argv[1])))
