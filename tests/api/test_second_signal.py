"""A second signal ends a process that is stopping at once, also the first process of a container."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from scripts.repository import ROOT
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

SLOW_TO_STOP = """
import asyncio, os
from http_api.server import stop_signal

async def main():
    with stop_signal() as stop:
        print("serving", os.getpid(), flush=True)
        await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
OF_A_CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


async def can_be_first_process() -> bool:
    if shutil.which(OF_A_CONTAINER[0]) is None:
        return False
    trying = await asyncio.create_subprocess_exec(*OF_A_CONTAINER, "true", stderr=asyncio.subprocess.DEVNULL)
    return await trying.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_first", [False, True])
async def test_a_second_signal_ends_the_process_at_once(number: signal.Signals, is_first: bool) -> None:
    if is_first and not await can_be_first_process():
        pytest.skip("no process namespace can be made here")
    process = await asyncio.create_subprocess_exec(
        *(OF_A_CONTAINER if is_first else ()), sys.executable, "-c", SLOW_TO_STOP,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with waiting_for("the process to serve", lambda: None):
            serving = (await process.stdout.readline()).split()
        assert (serving[1] == b"1") is is_first
        pid = process.pid
        if is_first:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        os.kill(pid, number)
        async with waiting_for("the process to stop", lambda: None):
            assert await process.stdout.readline() == b"stopping\n"
        os.kill(pid, number)
        async with waiting_for("the process to end", lambda: None):
            assert await process.wait() == 128 + number
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
