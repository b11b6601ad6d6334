"""A panic of the SDK's native library, injected where its events arrive: the process ends so that it is restarted."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.manager_stand_in import KEY, SECRET, ManagerStandIn
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

PANIC = """
import ctypes, sys, threading
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent, Panic

def panic():
    for _ in sys.stdin:
        raw = FfiEvent(panic=Panic(message="the native side is broken")).SerializeToString()
        _ffi_client.ffi_event_callback((ctypes.c_uint8 * len(raw)).from_buffer_copy(raw), len(raw))

threading.Thread(target=panic, daemon=True).start()
"""
SERVER = f"""{PANIC}
from http_api.__main__ import run
sys.exit(run(dev=True))
"""
SERVICE = f"""{PANIC}
from service_kit import Service
service = Service("asr-service", type="ASR")

@service.on_invite
async def work(job): ...

service.run()
"""


async def ended_by_panics(script: str, *after: bytes, **environment: str) -> tuple[int | None, bytes]:
    """The exit code of a script and what it wrote. The library panics each time that it has written one of these."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), cwd=ROOT, env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    written = bytearray()

    def tail() -> bytes:
        return bytes(written[-2_000:])

    try:
        for once in after:
            async with waiting_for(once.decode(), tail):
                while once not in written:
                    written += await process.stdout.readline()
            process.stdin.write(b"\n")
        async with waiting_for("the end of the process", tail):
            written += await process.stdout.read()
        return await process.wait(), bytes(written)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_native_panic_ends_the_server_with_an_exit_code_that_supervisors_restart() -> None:
    port = str(free_port())
    code, written = await ended_by_panics(
        SERVER, b"listening", SERVER_PORT=port, LIVEKIT_SERVER_URL="ws://127.0.0.1:1", LOG_LEVEL="info"
    )
    assert code == 70, written
    assert b"native_panic" in written
    assert b"the native side is broken" in written


async def test_a_second_native_panic_while_the_server_stops_does_not_look_like_a_signal() -> None:
    port = str(free_port())
    code, written = await ended_by_panics(
        SERVER, b"listening", b"stopping", SERVER_PORT=port, LIVEKIT_SERVER_URL="ws://127.0.0.1:1", LOG_LEVEL="info"
    )
    assert code == 70, written
    assert written.count(b"native_panic") == 1


async def test_a_native_panic_ends_a_service_of_the_kit_with_the_same_exit_code() -> None:
    async with ManagerStandIn() as manager:
        code, written = await ended_by_panics(
            SERVICE, b"registered", SESSION_MANAGER_URL=manager.url, INVITE_API_KEY=KEY, INVITE_API_SECRET=SECRET
        )
    assert code == 70, written
    assert b"native_panic" in written
