"""Three patches of the SDK: disable its capture of native logs, tell its panics from a request to stop, and deliver
events only to the room that they concern.

`livekit.rtc` has its native library send every debug record through Python, and has no option to disable this. It costs
several times the memory and twice the CPU per room (see benchmarks/room_cost.py). Without it native logs go to stderr,
filtered by RUST_LOG. This file depends on `livekit.rtc._ffi_client` of one exact version;
tests/unit/livekit/test_internals.py fails if that changes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import structlog
from livekit import rtc
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest
from livekit.rtc._proto.room_pb2 import RoomEvent
from livekit.rtc._proto.rpc_pb2 import RpcMethodInvocationEvent, RpcMethodInvocationResponseRequest

from manager_agent.livekit.participant_budget import ParticipantBudget
from manager_agent.messages import RpcFault

log = structlog.get_logger()

PANIC_EXIT_CODE = 70
"""Exit code after a panic: EX_SOFTWARE of sysexits.h."""
PANIC_STOP_TIMEOUT = 30.0
"""Seconds to stop in order after a panic, before the process is ended: waits for the native side never return."""

WANTED = frozenset(
    {"participant_connected", "participant_active", "participant_disconnected", "room_sid_changed", "room_updated"}
    | {"connection_state_changed", "reconnecting", "reconnected", "disconnected", "moved", "token_refreshed", "eos"}
)
"""The events of a room that are delivered however many there are: no participant can cause them without leaving and
joining. Any participant can cause thousands a second of the others, such as those about muted tracks, names, metadata
and typing indicators."""

_load = _ffi_client.get_ffi_lib
_panicked = threading.Event()


def tell_panics_apart() -> None:
    """From now on, log a panic of the native library, and end the process with PANIC_EXIT_CODE if it does not stop in
    order. Idempotent.

    The SDK sends its own process SIGTERM, as an operator does: it would end with 0, and nothing would restart it.
    """
    _ffi_client.os = _OsOfTheSdk()  # type: ignore[assignment, attr-defined]


def has_panicked() -> bool:
    """Whether the native library has panicked. The process must end with PANIC_EXIT_CODE."""
    return _panicked.is_set()


class _OsOfTheSdk:
    """The module `os` in the SDK's client, which calls os.kill() for one purpose: to end the process after a panic."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def kill(self, pid: int, number: int) -> None:
        _panicked.set()
        log.critical("native_panic", hint="restart the process; the SDK's message is on stderr as `FFI Panic`")
        ending = threading.Timer(PANIC_STOP_TIMEOUT, os._exit, [PANIC_EXIT_CODE])
        ending.daemon = True
        ending.start()
        os.kill(pid, number)


def disable_log_capture() -> None:
    """Disable the capture for this process. Call it before creating the first room. Idempotent.

    Raises RuntimeError if the native library is already initialized with the capture enabled.
    """
    if _ffi_client.get_ffi_lib is _load_without_log_capture:
        return
    if _ffi_client.FfiClient._instance is not None:
        raise RuntimeError("disable_log_capture() must be called before the first livekit.rtc object is created")
    os.environ.setdefault("RUST_LOG", "error")  # read by the native library itself
    _ffi_client.get_ffi_lib = _load_without_log_capture


def _load_without_log_capture() -> Any:
    return _LibraryWithoutLogCapture(_load())


class _LibraryWithoutLogCapture:
    """The native library, except that `livekit_ffi_initialize` never captures logs."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        initialize = library.livekit_ffi_initialize
        initialize.argtypes = [_ffi_client.ffi_cb_fnc, ctypes.c_bool, ctypes.c_char_p, ctypes.c_char_p]

        def without_capture(callback: Any, _capture_logs: bool, sdk: bytes, version: bytes) -> None:
            initialize(callback, False, sdk, version)

        self.livekit_ffi_initialize = without_capture

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def filter_events_to_room(room: rtc.Room, topic: str, budget: ParticipantBudget) -> None:
    """From now on, put only this room's own events into its queue: those in WANTED, and messages on `topic`, RPCs and
    attribute changes as far as the budget of their participant takes them. Call it once the room is connected.

    What is dropped never reaches the event loop. Text and byte streams are dropped too: the SDK would log each, with
    the topic that its sender chose. Attributes that are dropped are seen in the next listing of the room. RPCs that
    are too many get their error at once.

    The SDK puts every event of every room into the queue of each room: with a hundred rooms this costs the event loop
    nearly two milliseconds per event. Not for rooms that publish tracks: publishing waits for events dropped here.
    """
    assert room._ffi_handle is not None, "connect the room first"
    queue, own_queue = _ffi_client.FfiClient.instance.queue, room._ffi_queue
    own_room, own_participant = room._ffi_handle.handle, room.local_participant._ffi_handle.handle

    def is_own(event: FfiEvent) -> bool:
        match event.WhichOneof("message"):
            case "room_event":
                return event.room_event.room_handle == own_room and _is_wanted(event.room_event, topic, budget)
            case "rpc_method_invocation":
                return event.rpc_method_invocation.local_participant_handle == own_participant and _is_rpc_wanted(
                    event.rpc_method_invocation, budget
                )
        return False

    with queue._lock:
        queue._subscribers[:] = [
            (each, loop, is_own if each is own_queue else wanted) for each, loop, wanted in queue._subscribers
        ]


def _is_wanted(event: RoomEvent, topic: str, budget: ParticipantBudget) -> bool:
    """Whether to deliver this event of a room. Releases what a dropped one holds."""
    match event.WhichOneof("message"):
        case "data_packet_received":
            packet = event.data_packet_received
            is_ours = packet.WhichOneof("value") == "user" and packet.user.topic == topic
            is_wanted = is_ours and budget.takes(packet.participant_identity, "data")
        case "participant_attributes_changed":
            is_wanted = budget.takes(event.participant_attributes_changed.participant_identity, "attributes")
        case kind:
            is_wanted = kind in WANTED
    if not is_wanted and (handle := _handle_of(event)):
        _ffi_client.FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(ctypes.c_uint64(handle))
    return is_wanted


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


def _is_rpc_wanted(call: RpcMethodInvocationEvent, budget: ParticipantBudget) -> bool:
    """Whether to deliver this RPC. Answers one that is too many: without an answer its caller and the native library
    would wait for it, and on the event loop each costs two tasks."""
    if budget.takes(call.caller_identity, "rpc"):
        return True
    error = rtc.RpcError(RpcFault.TOO_MANY, "too many messages of this participant")._to_proto()
    answer = RpcMethodInvocationResponseRequest(
        local_participant_handle=call.local_participant_handle, invocation_id=call.invocation_id, error=error
    )
    _ffi_client.FfiClient.instance.request(FfiRequest(rpc_method_invocation_response=answer))
    return False
