"""The SDK's capture of native logs, off, and its events given only to the room that they are about.

`livekit.rtc` asks its native library to send every debug record through Python, and offers no switch: with it a
joined room costs several times the memory and twice the CPU (see benchmarks/room_cost.py). Native logs then go
to stderr, under RUST_LOG. This file leans on `livekit.rtc._ffi_client` of one exact version;
tests/unit/livekit/test_internals.py fails when that moves.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from livekit import rtc
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent

_load = _ffi_client.get_ffi_lib


def disable_log_capture() -> None:
    """Switches the capture off for this process. Call it before the first room is made; again is harmless.

    Raises RuntimeError when the native library is already up with the capture on.
    """
    if _ffi_client.get_ffi_lib is _load_without_log_capture:
        return
    if _ffi_client.FfiClient._instance is not None:
        raise RuntimeError("quiet() must be called before the first livekit.rtc object is made")
    os.environ.setdefault("RUST_LOG", "error")  # read by the native library itself
    _ffi_client.get_ffi_lib = _load_without_log_capture


def _load_without_log_capture() -> Any:
    return _LibraryWithoutLogCapture(_load())


class _LibraryWithoutLogCapture:
    """The native library, but `livekit_ffi_initialize` is told not to capture logs, whatever is asked."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        initialize = library.livekit_ffi_initialize
        initialize.argtypes = [_ffi_client.ffi_cb_fnc, ctypes.c_bool, ctypes.c_char_p, ctypes.c_char_p]

        def without_capture(callback: Any, _capture_logs: bool, sdk: bytes, version: bytes) -> None:
            initialize(callback, False, sdk, version)

        self.livekit_ffi_initialize = without_capture

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)


def filter_events_to_room(room: rtc.Room) -> None:
    """From now on only this room's own events go into its queue. Call it once the room is connected.

    The SDK puts every event of every room into the queue of each, which with a hundred rooms costs the loop nearly
    two milliseconds an event. For a room that publishes no tracks: to publish, one waits for other events.
    """
    assert room._ffi_handle is not None, "connect it first"
    queue, own_queue = _ffi_client.FfiClient.instance.queue, room._ffi_queue
    own_room, own_participant = room._ffi_handle.handle, room.local_participant._ffi_handle.handle

    def is_own(event: FfiEvent) -> bool:
        match event.WhichOneof("message"):
            case "room_event":
                return event.room_event.room_handle == own_room
            case "rpc_method_invocation":
                return event.rpc_method_invocation.local_participant_handle == own_participant
        return False

    with queue._lock:
        queue._subscribers[:] = [
            (each, loop, is_own if each is own_queue else wanted) for each, loop, wanted in queue._subscribers
        ]
