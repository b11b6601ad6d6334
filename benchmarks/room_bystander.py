"""A participant that ignores everything in a room without a manager: the floor of room_flood.py, as a separate process.

    python -m benchmarks.room_bystander <url> <token>

It prints "ready" once it has joined, and for each line on stdin how many data messages and attribute changes have
arrived so far. RPCs are not counted: the native side answers them itself, because no method is registered. Events are
dropped in the thread of the native side, so it costs the machine the least that a participant of this SDK can.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections import Counter

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiQueue
from livekit.rtc._proto.ffi_pb2 import FfiEvent

from benchmarks.child import commands, say
from manager_agent.livekit.ffi import disable_log_capture


class CountingQueue(FfiQueue[FfiEvent]):
    """Takes the place of the SDK's queue of events: counts them and drops them."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: Counter[str | None] = Counter()

    def put(self, item: FfiEvent) -> None:
        kind = item.room_event.WhichOneof("message")
        self.arrived[kind] += 1
        if kind == "data_packet_received":
            handle = item.room_event.data_packet_received.user.data.handle.id
            FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(ctypes.c_uint64(handle))


async def serve(url: str, token: str) -> None:
    room, queue = rtc.Room(), CountingQueue()
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    FfiClient.instance._queue = queue
    async for _ in commands():
        say(f"{queue.arrived['data_packet_received']} {queue.arrived['participant_attributes_changed']}")


if __name__ == "__main__":
    disable_log_capture()
    asyncio.run(serve(*sys.argv[1:]))
