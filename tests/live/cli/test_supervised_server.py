"""`session-manager serve` with a real LiveKit: a panic of the SDK's native library costs no session, and no user."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.live.bots import Bot
from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess
from tests.waiting import waiting_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

PANICS = """
import ctypes, os, threading

def panic():
    with open(os.environ["PANIC_FIFO"]) as fifo:
        fifo.read()
    from livekit.rtc import _ffi_client
    from livekit.rtc._proto.ffi_pb2 import FfiEvent, Panic
    raw = FfiEvent(panic=Panic(message="the native side is broken")).SerializeToString()
    _ffi_client.ffi_event_callback((ctypes.c_uint8 * len(raw)).from_buffer_copy(raw), len(raw))

threading.Thread(target=panic, daemon=True).start()
"""
"""A module that each Python imports when it starts: the native library's callback, called from a thread of its own, as
the library does."""


class ServeProcess(ManagerProcess):
    """`session-manager serve`, whose native library can be made to panic."""

    options: tuple[str, ...] = ()

    def __init__(self, site: Site, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(PANICS)
        self._fifo = folder / "panic"
        os.mkfifo(self._fifo)
        super().__init__(
            site,
            log=folder / "manager.log",
            STATE_DIR=str(folder / "state"),
            PYTHONPATH=str(folder),
            PANIC_FIFO=str(self._fifo),
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        return "-c", "from http_api.cli import main; main()", "serve", "--dev", *self.options

    async def panic(self) -> None:
        """Let the native library of the server panic."""
        async with waiting_for("the server to hear the panic", lambda: self.tail):
            await asyncio.to_thread(self._fifo.write_text, "")

    async def ended(self) -> int:
        """The exit code, once it has ended by itself."""
        assert self._process is not None
        async with waiting_for("the end of the server", lambda: self.tail):
            return await self._process.wait()

    async def logged(self, text: str, times: int = 1) -> None:
        async with waiting_for(f"{text!r}, {times} times", lambda: self.tail):
            while self.log.read_text().count(text) < times:
                await asyncio.sleep(0.02)

    async def until_ready(self) -> None:
        async with waiting_for("the server to be ready", lambda: self.tail):
            while await self._status("/readyz") != 200:
                await asyncio.sleep(0.02)


class ServeAlone(ServeProcess):
    options = ("--no-supervisor",)


@asynccontextmanager
async def call(manager: ManagerProcess) -> AsyncIterator[Callable[[], Any]]:
    """An active session. What it gives checks that neither its user nor its service has noticed anything."""
    async with Bot("asr", "ASR") as bot:
        await manager.ask("POST", "/microservices/register", bot.registration())
        body = {"user_identity": "alice", "required_services": ["asr"]}
        asking = asyncio.create_task(manager.ask("POST", "/sessions", body))
        await bot.invited()
        await bot.join()
        status, session = await asking
        assert status == 201, session
        user, noticed = rtc.Room(), list[str]()
        await user.connect(session["server_url"], session["access_token"])
        for room in (user, bot.room):
            room.on("disconnected", lambda reason: noticed.append(f"disconnected {reason}"))
            room.on("participant_disconnected", lambda one: noticed.append(f"{one.identity} left"))
        await manager.until(session["session_id"], "active")

        async def goes_on() -> None:
            assert (await manager.session(session["session_id"]))["state"] == "active"
            assert (noticed, len(bot.invites), bot.session_ended_messages) == ([], 1, [])
            assert user.isconnected()

        yield goes_on
        assert (noticed, user.isconnected()) == ([], True)
        await user.disconnect()


async def test_a_call_outlives_native_panics_under_the_supervisor_and_its_stop(
    silent_site: Site, tmp_path: Path
) -> None:
    async with ServeProcess(silent_site, tmp_path) as manager, call(manager) as goes_on:
        for panics, pause in ((1, 0.5), (2, 1.0)):
            await manager.panic()
            await manager.logged('"event": "restarting"', panics)
            await manager.logged("listening", panics + 1)
            await manager.until_ready()
            await goes_on()
            line = next(line for line in manager.log.read_text().splitlines() if f'"restarts": {panics}' in line)
            assert f'"exit_code": 70, "pause": {pause}' in line
        assert await manager.end(signal.SIGTERM) == 0


async def test_a_native_panic_ends_a_server_without_supervisor_and_the_next_one_continues_its_call(
    silent_site: Site, tmp_path: Path
) -> None:
    async with ServeAlone(silent_site, tmp_path) as manager, call(manager) as goes_on:
        await manager.panic()
        assert await manager.ended() == 70, manager.tail
        assert "restarting" not in manager.log.read_text()
        await manager.start()
        await goes_on()
