"""The reference for join_latency.py: a hidden participant in every room that waits for the SDK's own event.

    python -m benchmarks.room_event ws://127.0.0.1:7880

For a line "<room> <token>" it joins and prints "watching <room>"; when a participant joins, "joined <room> <instant>",
and when it leaves, "left <room> <instant>".
"""

from __future__ import annotations

import asyncio
import sys
import time

from livekit import rtc

from benchmarks.child import commands, say
from manager_agent.livekit.ffi import disable_log_capture


async def serve(url: str) -> None:
    rooms: list[rtc.Room] = []
    async with asyncio.TaskGroup() as watching:
        async for line in commands():
            name, token = line.split(" ")
            rooms.append(room := rtc.Room())
            watching.create_task(watch(room, name, url, token))


async def watch(room: rtc.Room, name: str, url: str, token: str) -> None:
    room.on("participant_connected", lambda _: say(f"joined {name} {time.time()}"))
    room.on("participant_disconnected", lambda _: say(f"left {name} {time.time()}"))
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    say(f"watching {name}")


if __name__ == "__main__":
    disable_log_capture()
    asyncio.run(serve(*sys.argv[1:]))
