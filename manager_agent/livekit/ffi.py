"""Two patches of the SDK: disable its capture of native logs, and tell its panics from a request to stop.

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
from livekit.rtc import _ffi_client

log = structlog.get_logger()

PANIC_EXIT_CODE = 70
"""Exit code after a panic: EX_SOFTWARE of sysexits.h."""
PANIC_STOP_TIMEOUT = 30.0
"""Seconds to stop in order after a panic, before the process is ended: waits for the native side never return."""

_load = _ffi_client.get_ffi_lib
_panicked, _panicking = threading.Event(), threading.Lock()


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
        """Each panic comes here, in a thread of the library. Only the first one stops the process: leaving the rooms
        may panic again, and a second signal would end the process at once."""
        with _panicking:
            if _panicked.is_set():
                return
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
