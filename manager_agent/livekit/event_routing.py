"""Routes the native library's events: those of a watched room go to that room alone, and those that a participant can
cause in any number are dropped in the SDK's own thread, before they cost the event loop anything.

The SDK offers every event to every subscriber: each room, and each call that waits for its own outcome. So each message
of a participant who floods one room would reach the event loop twice for every room that is being joined, and would
cost more the more rooms there are. This file depends on `livekit.rtc._ffi_client` of one exact version;
tests/unit/livekit/test_internals.py fails if that changes.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from livekit import rtc
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest
from livekit.rtc._proto.room_pb2 import RoomEvent
from livekit.rtc._proto.rpc_pb2 import RpcMethodInvocationEvent, RpcMethodInvocationResponseRequest

from manager_agent.livekit.participant_budget import ATTRIBUTES, DATA, RPC, ParticipantBudget
from manager_agent.messages import RpcFault

WANTED = frozenset(
    {"participant_connected", "participant_active", "participant_disconnected", "room_sid_changed", "room_updated"}
    | {"connection_state_changed", "reconnecting", "reconnected", "disconnected", "moved", "token_refreshed", "eos"}
)
"""The events of a room that are delivered however many there are: no participant can cause them without leaving and
joining. Any participant can cause thousands a second of the others, such as those about muted tracks, names, metadata
and typing indicators."""
KEPT_THREADS_MAX = 256
"""More than the native library has threads that call back: one for each core."""


def route_events(room: rtc.Room, topic: str, budget: ParticipantBudget) -> None:
    """From now on, put into the queue of this room, and into no other, its own events: those in WANTED, and messages on
    `topic`, RPCs and attribute changes as far as the budget of their participant takes them. Ends when the SDK
    unsubscribes the queue, as it does when the room is left or lost. Call it once the room is connected.

    Text and byte streams are dropped too: the SDK would log each, with the topic that its sender chose. Attributes that
    are dropped are seen in the next listing of the room. RPCs that are too many get their error at once.

    Not for rooms that publish tracks: publishing waits for events dropped here.
    """
    assert room._ffi_handle is not None, "connect the room first"
    participant = room.local_participant._ffi_handle.handle
    error = rtc.RpcError(RpcFault.TOO_MANY, "too many messages of this participant")._to_proto()
    answer = RpcMethodInvocationResponseRequest(local_participant_handle=participant, invocation_id=0, error=error)
    refusal = FfiRequest(rpc_method_invocation_response=answer)
    route = _Route(room._ffi_queue, room._loop, topic, budget, refusal.SerializeToString())
    client = _ffi_client.FfiClient.instance
    if not isinstance(client.queue, RoutedQueue):
        client._queue = RoutedQueue(client.queue)
    client.queue.route(room._ffi_handle.handle, participant, route)


@dataclass(frozen=True, slots=True)
class _Route:
    """Where the events of one room go, and which of them are wanted."""

    queue: Any
    loop: asyncio.AbstractEventLoop
    topic: str
    budget: ParticipantBudget
    refusal: bytes
    """The response to an RPC that is too many, without the id of the invocation."""

    def is_wanted(self, event: RoomEvent) -> bool:
        match event.WhichOneof("message"):
            case "data_packet_received":
                packet = event.data_packet_received
                is_ours = packet.WhichOneof("value") == "user" and packet.user.topic == self.topic
                return is_ours and self.budget.takes(packet.participant_identity, DATA)
            case "participant_attributes_changed":
                return self.budget.takes(event.participant_attributes_changed.participant_identity, ATTRIBUTES)
            case kind:
                return kind in WANTED

    def refuse(self, call: RpcMethodInvocationEvent) -> None:
        """Answer an RPC: without an answer the native library would keep it, and a task, until the room is left."""
        request = FfiRequest.FromString(self.refusal)  # several times as fast as building it
        request.rpc_method_invocation_response.invocation_id = call.invocation_id
        _ffi_client.FfiClient.instance.request(request)

    def put(self, event: FfiEvent) -> None:
        with suppress(RuntimeError):  # the event loop was closed before the room was left
            self.loop.call_soon_threadsafe(self.queue.put_nowait, event)


class RoutedQueue(_ffi_client.FfiQueue[FfiEvent]):
    """The SDK's queue of native events, in its place. The events of a room that is routed go to that room alone; all
    others go to all other subscribers, as the SDK means them to. Called in the threads of the native library."""

    def __init__(self, replaced: _ffi_client.FfiQueue[FfiEvent]) -> None:
        """Takes the subscribers of `replaced`, and its lock: a thread may be in the midst of its put()."""
        self._lock, self._subscribers = replaced._lock, replaced._subscribers
        self._rooms: dict[int, _Route] = {}
        self._participants: dict[int, _Route] = {}
        """The same routes, by the handle of the room's local participant."""
        self._handles: dict[Any, tuple[int, int]] = {}
        """The handles of both, by the queue of the room."""
        self._thread, self._threads_kept = threading.local(), 0

    def route(self, room: int, participant: int, route: _Route) -> None:
        with self._lock:
            super().unsubscribe(route.queue)
            self._rooms[room] = self._participants[participant] = route
            self._handles[route.queue] = room, participant

    def unsubscribe(self, queue: Any) -> None:
        with self._lock:
            if handles := self._handles.pop(queue, None):
                room, participant = handles
                del self._rooms[room], self._participants[participant]
            else:
                super().unsubscribe(queue)

    def put(self, item: FfiEvent) -> None:
        self._keep_thread_state()
        route = None
        match item.WhichOneof("message"):
            case "room_event":
                if route := self._rooms.get(item.room_event.room_handle):
                    if route.is_wanted(item.room_event):
                        route.put(item)
                    else:
                        _release(item.room_event)
            case "rpc_method_invocation":
                call = item.rpc_method_invocation
                if route := self._participants.get(call.local_participant_handle):
                    if route.budget.takes(call.caller_identity, RPC):
                        route.put(item)
                    else:
                        route.refuse(call)
        if route is None:
            super().put(item)

    def _keep_thread_state(self) -> None:
        """Keep what the interpreter has allocated for this thread of the native library, until the process ends. Else
        it allocates it for each event anew, which costs more than to read the event and drop it."""
        if not hasattr(self._thread, "is_kept") and self._threads_kept < KEPT_THREADS_MAX:
            self._thread.is_kept = True
            self._threads_kept += 1
            ctypes.pythonapi.PyGILState_Ensure()  # never released


def _release(event: RoomEvent) -> None:
    """Release the native object that the receiver of this event would own, if there is one."""
    if handle := _handle_of(event):
        _ffi_client.FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(ctypes.c_uint64(handle))


def _handle_of(event: RoomEvent) -> int:
    """The native object that the receiver of this event owns; 0 if there is none."""
    match event.WhichOneof("message"):
        case "data_packet_received" if event.data_packet_received.WhichOneof("value") == "user":
            return event.data_packet_received.user.data.handle.id
        case "text_stream_opened":
            return event.text_stream_opened.reader.handle.id
        case "byte_stream_opened":
            return event.byte_stream_opened.reader.handle.id
        case "track_published":
            return event.track_published.publication.handle.id
        case "track_subscribed":
            return event.track_subscribed.track.handle.id
        case "data_track_published":
            return event.data_track_published.track.handle.id
    return 0
