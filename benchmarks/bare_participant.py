"""A participant and an HTTP server that do nothing with what they get: the floor of signals.py, as a separate process.

    python -m benchmarks.bare_participant LIVEKIT_URL TOKEN PORT

It prints "ready" once it has joined, then a line for each data message (`data <instant>`) and each attribute change
(`attribute <instant>`) of others. It answers RPCs and requests.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiohttp import web
from livekit import rtc

from benchmarks.child import say
from benchmarks.served import served_until_closed
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import TOPIC

ANSWER = '{"ok": true, "revision": 7}'


async def serve(url: str, token: str, port: int) -> None:
    """Serve until stdin is closed."""
    room, app = rtc.Room(), web.Application()
    room.on("data_received", lambda _: say(f"data {time.time()}"))
    room.on("participant_attributes_changed", lambda *_: say(f"attribute {time.time()}"))
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    room.local_participant.register_rpc_method(TOPIC, answer_rpc)
    app.router.add_post("/ready", answer_request)
    await served_until_closed(app, port)
    await room.disconnect()


async def answer_rpc(_: rtc.RpcInvocationData) -> str:
    return ANSWER


async def answer_request(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(text=ANSWER, content_type="application/json")


if __name__ == "__main__":
    disable_log_capture()
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
