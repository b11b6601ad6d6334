"""A service in a process of its own, to be killed or frozen by tests.

Prints the id of every invite it receives, one a line, and `joined` when it is in a room. `--behavior` is what it does
with an invite: `join`, or `stay-away` after accepting. An invite that is sent again changes nothing, unless its join
failed: LiveKit would put out the participant that is there."""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
from aiohttp import web

from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.livekit.room_connection import connect

disable_log_capture()

from livekit import rtc  # noqa: E402 - after disable_log_capture()

JOIN_TIMEOUT = 60.0


async def main(manager_url: str, service_id: str, type: str, ready_on: str, behavior: str) -> None:
    joining: dict[str, asyncio.Task[None]] = {}
    rooms: list[rtc.Room] = []

    async def join(server_url: str, token: str) -> None:
        room = rtc.Room()
        rooms.append(room)
        await connect(room, server_url, token, rtc.RoomOptions(auto_subscribe=False), timeout=JOIN_TIMEOUT)
        print("joined", flush=True)

    async def receive(request: web.Request) -> web.Response:
        message = await request.json()
        if message["event"] == "session_invited":
            print(message["id"], flush=True)
            if behavior == "join" and not is_joining(message["id"]):
                joining[message["id"]] = asyncio.create_task(join(message["server_url"], message["token"]))
        return web.Response()

    def is_joining(invite_id: str) -> bool:
        """Whether it is in the room, or on its way."""
        task = joining.get(invite_id)
        return task is not None and not (task.done() and task.exception())

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    registration = {"service_id": service_id, "endpoint": endpoint, "metadata": {"type": type}, "ready_on": ready_on}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{manager_url}/api/v1/microservices/register", json=registration) as answer,
    ):
        answer.raise_for_status()
    print("registered", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--manager", required=True)
    parser.add_argument("--service-id", required=True)
    parser.add_argument("--type", default="BOT")
    parser.add_argument("--ready-on", default="join")
    parser.add_argument("--behavior", choices=("join", "stay-away"), default="join")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.manager, chosen.service_id, chosen.type, chosen.ready_on, chosen.behavior))
