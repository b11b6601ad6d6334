"""`session-manager serve` runs the server under a supervisor, which restarts it when it ends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from http_api.cli import supervisor
from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

SERVE = ("-c", "from http_api.cli import main; main()", "serve", "--dev")
SUPERVISED = ("-I", "-S", supervisor.__file__, sys.executable, "-c")
ENDS_IN_TURN = """
import os, pathlib, signal, sys, time
runs = pathlib.Path(sys.argv[1])
number = len(runs.read_text()) if runs.exists() else 0
runs.write_text("x" * (number + 1))
end = sys.argv[2:][number]
if end.startswith("-"):
    os.kill(os.getpid(), -int(end))
sys.exit(int(end))
"""
DEAF = """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: print("asked to end", flush=True))
print("runs", flush=True)
while True:
    time.sleep(0.1)
"""


class Supervised:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.written = ""

    async def line_with(self, text: str) -> str:
        assert self.process.stdout is not None
        async with waiting_for(repr(text), lambda: self.written[-2_000:]):
            while line := (await self.process.stdout.readline()).decode():
                self.written += line
                if text in line:
                    return line
        raise AssertionError(f"no {text!r} in {self.written}")

    async def ended(self) -> int:
        assert self.process.stdout is not None
        async with waiting_for("the end of the supervisor", lambda: self.written[-2_000:]):
            self.written += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    @property
    def program(self) -> psutil.Process:
        [program] = psutil.Process(self.process.pid).children()
        return program


@asynccontextmanager
async def supervised(*arguments: str, **environment: str) -> AsyncIterator[Supervised]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments), cwd=ROOT, env=os.environ | environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Supervised(process)
    finally:
        if process.returncode is None:
            with suppress(psutil.NoSuchProcess):  # it has ended, and asyncio does not know it yet
                programs = psutil.Process(process.pid).children()
                process.kill()  # first, or it would start another program
                for program in programs:
                    program.kill()
        async with waiting_for("the end of the output", lambda: process, within=60):
            await process.communicate()  # closes the pipe


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (["70", "-9", "1", "0"], 0),  # a panic, a kill, a fault, a stop by an operator
        (["70", "2"], 2),
        (["2"], 2),
        (["0"], 0),
    ],
)
async def test_a_program_is_restarted_until_it_is_stopped_or_can_not_run(
    tmp_path: Path, ends: list[str], code: int
) -> None:
    async with supervised(*SUPERVISED, ENDS_IN_TURN, str(tmp_path / "runs"), *ends) as one:
        assert await one.ended() == code
    assert (tmp_path / "runs").read_text() == "x" * len(ends)
    assert one.written.count('"event": "restarting"') == len(ends) - 1


async def test_the_pause_before_a_restart_grows(tmp_path: Path) -> None:
    async with supervised(*SUPERVISED, ENDS_IN_TURN, str(tmp_path / "runs"), "1", "1", "0") as one:
        assert '"pause": 0.5' in await one.line_with("restarting")
        assert '"pause": 1.0' in await one.line_with("restarting")
        assert await one.ended() == 0


async def test_the_second_signal_kills_the_program() -> None:
    async with supervised(*SUPERVISED, DEAF) as one:
        await one.line_with("runs")
        one.process.send_signal(signal.SIGTERM)
        await one.line_with("asked to end")
        one.process.send_signal(signal.SIGINT)
        assert await one.ended() == 128 + signal.SIGKILL
    assert "restarting" not in one.written


async def test_a_signal_during_the_pause_ends_the_supervisor(tmp_path: Path) -> None:
    async with supervised(*SUPERVISED, ENDS_IN_TURN, str(tmp_path / "runs"), *["1"] * 9) as one:
        for _ in range(3):
            await one.line_with("restarting")
        one.process.send_signal(signal.SIGTERM)
        assert await one.ended() in (1, 128 + signal.SIGTERM)  # on a busy machine the pause may be over
    assert (tmp_path / "runs").read_text().count("x") <= 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
async def test_the_program_is_asked_to_end_when_the_supervisor_is_killed() -> None:
    async with supervised(*SUPERVISED, DEAF) as one:
        await one.line_with("runs")
        program = one.program
        one.process.kill()
        await one.line_with("asked to end")
        program.kill()


async def test_serve_restarts_a_killed_server_and_ends_with_it() -> None:
    port = free_port()
    async with supervised(*SERVE, SERVER_PORT=str(port), LIVEKIT_SERVER_URL="ws://127.0.0.1:1") as one:
        await one.line_with("listening")
        killed = one.program
        killed.kill()
        await one.line_with("restarting")
        await one.line_with("listening")
        assert one.program.pid != killed.pid
        assert psutil.Process(one.process.pid).memory_info().rss < 20 * 1024 * 1024
        one.process.send_signal(signal.SIGTERM)
        assert await one.ended() == 0
    assert "stopping" in one.written


async def test_serve_does_not_restart_a_server_with_invalid_settings() -> None:
    async with supervised(*SERVE, SERVER_PORT="x") as one:
        assert await one.ended() == 2
    assert "restarting" not in one.written


async def test_the_server_alone_has_no_supervisor() -> None:
    for arguments in ((*SERVE, "--no-supervisor"), ("-m", "http_api", "--dev")):
        async with supervised(*arguments, SERVER_PORT=str(free_port()), LIVEKIT_SERVER_URL="ws://127.0.0.1:1") as one:
            await one.line_with("listening")
            assert psutil.Process(one.process.pid).children() == []
            one.process.send_signal(signal.SIGTERM)
            assert await one.ended() == 0
