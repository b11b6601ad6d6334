"""Measure sessions per second with 1, 2 and 3 replicas: `python -m benchmarks.replicas`.

Callers create sessions without services, wait until the manager is in the room, and delete them, through all replicas
in turn. The reference is one process that keeps its sessions in memory. livekit-server, Redis, the replicas and the
callers share this machine, and the table tells what they use of it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from livekit import api

from benchmarks.child import environment_with, run
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import footprint, percentile
from benchmarks.redis_process import answers, redis_process
from benchmarks.result import Figure, FigureTable, Layout, WorkCheck
from manager_agent.session.session import OUR_IDENTITIES
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from scripts.repository import ROOT

KEY, SECRET = "devkey", "secret"
REPLICAS, QUICK_REPLICAS = (1, 2, 3), (2,)
SECONDS, CALLERS = 20.0, 12
QUICK_SECONDS, QUICK_CALLERS = 3.0, 2
IN_MEMORY = "in memory"
JOIN_TIMEOUT = 15.0
WARM_UP = 4.0
CORES = ("managers", "LiveKit", "Redis", "callers")
STOP_TIMEOUT = 20.0
POLL_PAUSE = 0.05
LIMITS = {
    "LOG_LEVEL": "error",
    "SERVER_HOST": "127.0.0.1",
    "RATE_LIMIT": "100000",
    "RATE_LIMIT_BURST": "100000",
    "USER_JOIN_TIMEOUT": "600",
}


@dataclass(frozen=True, slots=True)
class Throughput:
    name: str
    per_second: float
    took: Sequence[float]
    """Seconds from the request for a session until its manager is in the room."""
    failed: int
    cores: Mapping[str, float]
    """In use, by what uses them."""

    @property
    def cpu_per_session(self) -> float:
        """Seconds of the session managers."""
        return self.cores["managers"] / self.per_second if self.per_second else 0.0


@dataclass
class Load:
    """Callers that go on until they are stopped."""

    urls: Sequence[str]
    http: aiohttp.ClientSession
    livekit: api.LiveKitAPI
    took: list[float] = field(default_factory=list)
    failed: int = 0

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.urls)

    async def caller(self, number: int) -> None:
        for nth in itertools.count():
            begun = time.perf_counter()
            body = {"user_identity": f"user-{number}-{nth}", "required_services": []}
            async with self.http.post(f"{next(self._turns)}/api/v1/sessions", json=body) as answer:
                session = await answer.json()
                is_opened = answer.status == 201
            if not is_opened or not await self._is_managed(session["room_name"]):
                self.failed += 1
                await asyncio.sleep(POLL_PAUSE)
                continue
            self.took.append(time.perf_counter() - begun)
            async with self.http.delete(f"{next(self._turns)}/api/v1/sessions/{session['session_id']}") as answer:
                await answer.read()

    async def _is_managed(self, room_name: str) -> bool:
        """Wait until the manager is in the room, by LiveKit's list. False: it does not come."""
        give_up_at = time.monotonic() + JOIN_TIMEOUT
        while time.monotonic() < give_up_at:
            listing = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
            for one in listing.participants:
                if one.state == api.ParticipantInfo.ACTIVE and one.identity.startswith(OUR_IDENTITIES):
                    return True
            await asyncio.sleep(POLL_PAUSE)
        return False


class ReplicasBench:
    def __init__(self, folder: Path, redis_pid: int | None, livekit: LiveKitServer, ports: Sequence[int]) -> None:
        self._folder, self._redis_pid, self._livekit, self._ports = folder, redis_pid, livekit, ports
        self._processes: list[Process] = []

    async def start(self, environment: Mapping[str, str], http: aiohttp.ClientSession) -> None:
        with (self._folder / "managers.log").open("ab") as log:
            for port in self._ports:
                self._processes.append(
                    await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "http_api", "--dev"),
                        cwd=ROOT,
                        env=environment_with({**environment, "SERVER_PORT": str(port)}),
                        stdin=DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        for port in self._ports:
            while not await _is_ready(http, f"http://127.0.0.1:{port}"):
                await asyncio.sleep(POLL_PAUSE)

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_TIMEOUT):
            await asyncio.gather(*(process.wait() for process in self._processes))

    async def measure(
        self, name: str, http: aiohttp.ClientSession, client: api.LiveKitAPI, seconds: float, callers: int
    ) -> Throughput:
        load = Load([f"http://127.0.0.1:{port}" for port in self._ports], http, client)
        calling = [asyncio.create_task(load.caller(number)) for number in range(callers)]
        try:
            await asyncio.sleep(min(WARM_UP, seconds))
            load.took.clear()
            load.failed, before, begun = 0, self._cpu(), time.monotonic()
            await asyncio.sleep(seconds)
            passed = time.monotonic() - begun
            cores = {part: (cpu - before[part]) / passed for part, cpu in self._cpu().items()}
            return Throughput(name, len(load.took) / passed, list(load.took), load.failed, cores)
        finally:
            for task in calling:
                task.cancel()
            await asyncio.gather(*calling, return_exceptions=True)

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far."""
        assert self._livekit.pid is not None, "it runs"
        return {
            "managers": sum(footprint(process.pid).cpu_s for process in self._processes),
            "LiveKit": footprint(self._livekit.pid).cpu_s,
            "Redis": 0.0 if self._redis_pid is None else footprint(self._redis_pid).cpu_s,
            "callers": time.process_time(),
        }


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def measure(replicas: Sequence[int], seconds: float, callers: int) -> Sequence[Throughput]:
    measured = []
    for count in (0, *replicas):
        with tempfile.TemporaryDirectory() as folder:
            measured.append(await _measure(count, seconds, callers, Path(folder)))
    return measured


async def _measure(count: int, seconds: float, callers: int, folder: Path) -> Throughput:
    """`count`: of replicas; 0: one process in memory."""
    ports = [free_port() for _ in range(max(count, 1))]
    async with AsyncExitStack() as stack:
        environment = dict(LIMITS)
        redis_pid = None
        if count:
            server = stack.enter_context(redis_process())
            await answers(server)
            environment["REDIS_URL"], redis_pid = server.url, server.pid
        webhooks = f"http://127.0.0.1:{ports[0]}/livekit/webhook"
        livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=folder / "livekit.log")
        await stack.enter_async_context(livekit)
        environment["LIVEKIT_SERVER_URL"] = livekit.url
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        bench = ReplicasBench(folder, redis_pid, livekit, ports)
        stack.push_async_callback(bench.stop)
        await bench.start(environment, http)
        name = IN_MEMORY if not count else f"{count} replica{'s' * (count > 1)}"
        client = await stack.enter_async_context(api.LiveKitAPI(livekit.http_url, KEY, SECRET))
        return await bench.measure(name, http, client, seconds, callers)


def table(callers: int, measured: Sequence[Throughput]) -> FigureTable:
    figures = [figure for one in measured for figure in figures_of(one)]
    title = f"Sessions without services, {callers} callers, {os.cpu_count()} cores"
    return FigureTable(title=title, figures=figures, layout=Layout.GRID)


def figures_of(one: Throughput) -> Iterator[Figure]:
    compared = {"a second": one.per_second, "CPU ms each": one.cpu_per_session * 1_000}
    for work, value in compared.items():
        floor = None if one.name == IN_MEMORY else IN_MEMORY
        yield Figure(work=work, by=one.name, value=value, floor=floor)
    others = {
        **{f"p{percent} ms": 1_000 * percentile(one.took, percent) for percent in (50, 99) if one.took},
        "failed": float(one.failed),
        **{f"cores: {part}": cores for part, cores in one.cores.items()},
        "all cores": sum(one.cores.values()),
    }
    for work, value in others.items():
        yield Figure(work=work, by=one.name, value=value)


def check(measured: Sequence[Throughput]) -> WorkCheck:
    failed = {one.name: one.failed for one in measured if one.failed or not one.took}
    return WorkCheck("every session got its manager", not failed, ", ".join(map(str, failed.items())))


def main() -> None:
    command = BenchmarkCommand("replicas", __doc__)
    command.add_size("replicas", REPLICAS, QUICK_REPLICAS, "numbers of replicas")
    command.add_size("seconds", SECONDS, QUICK_SECONDS)
    command.add_size("callers", CALLERS, QUICK_CALLERS)
    asked = command.read()
    measured = run(measure(asked.replicas, asked.seconds, asked.callers))
    command.finish(table(asked.callers, measured), checks=[check(measured)])


if __name__ == "__main__":
    main()
