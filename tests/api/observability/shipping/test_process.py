"""The server process: its log lines arrive up to the last, and no collector delays its start or exit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import pytest

from http_api.__main__ import FAULT, UNUSABLE
from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.vector_stand_in import VectorStandIn, hang
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

SERVER = ("-m", "http_api", "--dev")
COMMAND = ("-c", "from http_api.cli import main; main()", "serve", "--dev")


@dataclass
class ServerProcess:
    process: asyncio.subprocess.Process
    code: int = -1
    log: str = ""

    port: int = 0

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> None:
        async with waiting_for("the process to end", lambda: self.process):
            _, log = await self.process.communicate()
        assert self.process.returncode is not None
        self.code, self.log = self.process.returncode, log.decode()


@asynccontextmanager
async def running(endpoint: str, *arguments: str, **env: str) -> AsyncIterator[ServerProcess]:
    """A Python process that ships its logs to the endpoint, with an unreachable LiveKit."""
    settings = {
        "VECTOR_LOG_ENABLED": "true",
        "VECTOR_LOG_ENDPOINT": endpoint,
        "SERVER_PORT": str(free_port()),
        "LIVEKIT_SERVER_URL": f"ws://127.0.0.1:{free_port()}",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments), cwd=ROOT, env=os.environ | settings | env, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield ServerProcess(process, port=int((settings | env)["SERVER_PORT"]))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ask(run: ServerProcess) -> None:
    """Ask for a session, which LiveKit is not there for: the request makes a span."""
    asked = {"user_identity": "alice", "required_services": ["nobody"]}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{run.port}") as http,
        http.post("/api/v1/sessions", json=asked) as answer,
    ):
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("arguments", [SERVER, COMMAND], ids=["module", "command"])
async def test_log_lines_of_the_process_arrive_up_to_the_last(arguments: tuple[str, ...]) -> None:
    async with VectorStandIn() as vector, running(vector.url, *arguments, LOG_LEVEL="info") as run:
        await vector.until(lambda: "listening" in vector.names)
        run.terminate()
        await run.ended()
    assert run.code == 0
    assert {"listening", "stopping"} <= set(vector.names)
    assert len(vector.events) == len(run.log.splitlines())
    assert all(name in line for name, line in zip(vector.names, run.log.splitlines(), strict=True))
    assert {"event", "level", "logger", "timestamp"} <= vector.events[0].keys()


async def test_process_exit_does_not_wait_for_a_hanging_collector() -> None:
    """Otherwise the process would wait ten seconds for its answer, and then again."""
    async with VectorStandIn() as vector, running(vector.url, *SERVER) as run:
        await vector.until(lambda: "listening" in vector.names)
        vector.behavior = hang
        arrived = len(vector.events)
        run.terminate()
        await run.ended()
    assert run.code == 0
    assert "logs_lost_at_exit" in run.log.splitlines()[-1]
    assert len(vector.events) == arrived


async def test_process_exit_reports_lost_logs_and_traces_without_waiting() -> None:
    """The loss of traces is logged first, so that the entry may still be shipped."""
    async with (
        VectorStandIn() as vector,
        VectorStandIn() as traces,
        running(vector.url, *SERVER, OTEL_EXPORTER_OTLP_ENDPOINT=traces.url) as run,
    ):
        traces.behavior = hang
        await vector.until(lambda: "listening" in vector.names)
        await ask(run)
        vector.behavior = hang
        run.terminate()
        await run.ended()
    assert run.code == 0
    assert "traces_not_flushed" in run.log.splitlines()[-2]
    assert "logs_lost_at_exit" in run.log.splitlines()[-1]


async def test_startup_error_of_the_process_is_shipped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with VectorStandIn() as vector, running(vector.url, *SERVER, SERVER_PORT=str(port)) as run:
            await run.ended()
    assert run.code == UNUSABLE
    assert vector.names[-1] == "not_started"
    why = f"port {port} is in use; set SERVER_PORT to another one"
    assert (vector.events[-1]["why"], run.log.splitlines()[-1]) == (why, why)


async def test_process_starts_and_stops_without_a_collector() -> None:
    async with running(f"http://127.0.0.1:{free_port()}", *SERVER) as run:
        assert run.process.stderr is not None
        lines = [b""]
        async with waiting_for("the server to listen: by then it handles signals", lambda: lines):
            while b" listening " not in lines[-1]:
                lines.append(await run.process.stderr.readline())
                assert lines[-1], f"the process ended: {lines}"
        run.terminate()
        await run.ended()
    assert run.code == 0
    assert "logs_lost_at_exit" in run.log


async def test_fatal_error_of_the_process_is_shipped() -> None:
    faulty = """
import sys
from http_api.__main__ import run

async def program(settings, sinks):
    raise ZeroDivisionError("a fault of ours")

sys.exit(run(dev=True, program=program))
"""
    async with VectorStandIn() as vector, running(vector.url, "-c", faulty) as run:
        await run.ended()
    assert run.code == FAULT
    assert vector.names == ["ended_by_fault"]
    assert "ZeroDivisionError: a fault of ours" in vector.events[0]["exception"]


async def test_process_exit_does_not_wait_for_a_hanging_dns_lookup() -> None:
    """A hanging look-up is a hanging thread, and asyncio waits for the threads of its default executor."""
    stuck = """
import asyncio, threading
from http_api.observability.shipping.daemon_threads import DaemonThreads

async def main():
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    assert await asyncio.to_thread(lambda: 7) == 7
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

asyncio.run(main())
"""
    async with running("http://127.0.0.1", "-c", stuck) as run:
        await run.ended()
    assert (run.code, run.log) == (0, "")
