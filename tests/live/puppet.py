"""A service in a process of its own, to be killed or frozen by tests.

Prints the id of every invite it receives, one a line, and `joined` when it is in a room. `--behavior` is what it does
with an invite: `join`, or `stay-away` after accepting. An invite that is sent again changes nothing: LiveKit would
put out the participant that is there."""

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
JOIN_PAUSE = 5.0
"""Seconds until it tries again to join, while the session lasts: on a busy machine the SDK gives up."""


async def main(manager_url: str, service_id: str, type: str, ready_on: str, behavior: str) -> None:
    joining: dict[str, asyncio.Task[None]] = {}
    ended: set[str] = set()
    rooms: list[rtc.Room] = []

    async def join(invite_id: str, server_url: str, token: str) -> None:
        while invite_id not in ended:
            room = rtc.Room()
            rooms.append(room)
            try:
                await connect(room, server_url, token, rtc.RoomOptions(auto_subscribe=False), timeout=JOIN_TIMEOUT)
            except (rtc.ConnectError, TimeoutError) as error:
                print(f"not joined: {error!r}", flush=True)
                await asyncio.sleep(JOIN_PAUSE)
            else:
                print("joined", flush=True)
                return

    async def receive(request: web.Request) -> web.Response:
        message = await request.json()
        if message["event"] == "session_invited":
            print(message["id"], flush=True)
            invite_id, token = message["id"], message["token"]
            if behavior == "join" and invite_id not in joining:
                joining[invite_id] = asyncio.create_task(join(invite_id, message["server_url"], token))
        else:
            ended.add(message["id"].removesuffix("_end"))
        return web.Response()

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
