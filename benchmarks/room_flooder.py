"""Flood one participant of a room with data messages, RPCs and attribute changes. Runs as a separate process of
room_flood.py.

    python -m benchmarks.room_flooder <url> <token> <identity to flood> <messages per second of each kind>

It prints "ready" once it has joined, and every second "sent <messages of each kind so far>". Messages go to the SDK's
native side directly, without waiting for their outcome: the SDK's own calls cost the square of those in flight.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest

from benchmarks.child import READY, say
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import TOPIC

TICK = 0.01
SIGNAL = '{"type": "ready"}'
PAYLOAD = ctypes.create_string_buffer(SIGNAL.encode())


async def flood(url: str, token: str, target: str, per_second: int) -> None:
    room, sent, told = rtc.Room(), 0, 0
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    FfiClient.instance.queue._subscribers.clear()  # outcomes are ignored
    data, call, attributes = requests(room.local_participant._ffi_handle.handle, target)
    send, loop = FfiClient.instance.request, asyncio.get_running_loop()
    say(READY)
    started = loop.time()
    while True:
        for _ in range(min(int((loop.time() - started) * per_second) - sent, per_second // 10)):
            sent += 1
            attributes.set_local_attributes.attributes[0].value = str(sent)
            for request in (data, call, attributes):
                send(request)
        if loop.time() - started > told + 1:
            told += 1
            say(f"sent {sent}")
        await asyncio.sleep(TICK)


def requests(me: int, target: str) -> tuple[FfiRequest, FfiRequest, FfiRequest]:
    """A data message, an RPC and an attribute change of the local participant with the handle `me`."""
    data, call, attributes = FfiRequest(), FfiRequest(), FfiRequest()
    data.publish_data.local_participant_handle = me
    data.publish_data.data_ptr = ctypes.addressof(PAYLOAD)
    data.publish_data.data_len = len(SIGNAL)
    data.publish_data.reliable = True
    data.publish_data.topic = TOPIC
    data.publish_data.destination_identities.append(target)
    call.perform_rpc.local_participant_handle = me
    call.perform_rpc.destination_identity = target
    call.perform_rpc.method = TOPIC
    call.perform_rpc.payload = SIGNAL
    call.perform_rpc.response_timeout_ms, call.perform_rpc.max_round_trip_latency_ms = 2_000, 1_000
    attributes.set_local_attributes.local_participant_handle = me
    attributes.set_local_attributes.attributes.add().key = "noise"
    return data, call, attributes


if __name__ == "__main__":
    disable_log_capture()
    asyncio.run(flood(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
