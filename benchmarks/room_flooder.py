"""Flood one participant of a room with data messages, RPCs and attribute changes. Runs as a separate process of
room_flood.py.

    python -m benchmarks.room_flooder <url> <token> <identity to flood> <messages per second of each kind>

It prints "ready" once it has joined. It floods from a line "go" on stdin until the line "pause", to which it responds
with the number of messages of each kind that it has sent so far. Messages go to the SDK's native side directly, without
waiting for their outcome: the SDK's own calls cost the square of those in flight.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest

from benchmarks.child import commands, say
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import TOPIC

TICK = 0.01
SIGNAL = '{"type": "ready"}'
PAYLOAD = ctypes.create_string_buffer(SIGNAL.encode())


class Flooder:
    def __init__(self, room: rtc.Room, target: str, per_second: int) -> None:
        self.sent = 0
        """Messages of each kind so far."""
        self._requests = requests(room.local_participant._ffi_handle.handle, target)
        self._per_second = per_second

    async def flood(self) -> None:
        """Flood until it is cancelled."""
        loop, sent_before = asyncio.get_running_loop(), self.sent
        started = loop.time()
        while True:
            due = int((loop.time() - started) * self._per_second) - (self.sent - sent_before)
            for _ in range(min(due, self._per_second // 10)):
                self._send_one_of_each()
            await asyncio.sleep(TICK)

    def _send_one_of_each(self) -> None:
        self.sent += 1
        data, call, attributes = self._requests
        attributes.set_local_attributes.attributes[0].value = str(self.sent)
        for request in (data, call, attributes):
            FfiClient.instance.request(request)


async def serve(url: str, token: str, target: str, per_second: int) -> None:
    room = rtc.Room()
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    FfiClient.instance.queue._subscribers.clear()  # outcomes are ignored
    flooder, flooding = Flooder(room, target, per_second), None
    async for command in commands():
        if command == "go":
            flooding = asyncio.create_task(flooder.flood())
        elif flooding is not None:
            flooding.cancel()
            say(str(flooder.sent))


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
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
