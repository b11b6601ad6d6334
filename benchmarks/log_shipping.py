"""Measure what log shipping costs in request latency and memory, with working and broken collectors.

    python -m benchmarks.log_shipping

Runs one session manager per case, each with its own collector: a good one, none at all, a slow one, and several broken
ones. Each session manager logs one line per request. First each gets enough requests to fill its backlog if nothing is
accepted. Then, in rounds and in random order, each gets a steady load, and its latencies are compared with those of the
floor, which ships nothing. Other load on the machine can only make a round slower, so the lower quartile of the rounds'
p99s is used. The case `off` ships nothing either: its difference from the floor is the noise of the measurement. CPU is
the session manager's total CPU time per request.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.flood import Figures
from benchmarks.measuring import MB, footprint, percentile
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from http_api.access.api_keys import digest_of, new_key
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

FLOOR, AGAIN, DOWN = "floor", "off", "down"
WITH_A_COLLECTOR = ("good", "good, otlp", "slow", "refusing, 503", "refusing, 400", "resetting", "hanging")
CASES = (AGAIN, *WITH_A_COLLECTOR, DOWN)
CLIENTS, PAUSE = 4, 0.004
"""The clients, and each one's pause in seconds between a response and its next request: some 700 requests per
second."""
FILL, QUICK_FILL = 11_000, 20
"""Requests that fill a backlog of 10,000."""
ROUNDS, QUICK_ROUNDS = 5, 1
SECONDS, QUICK_SECONDS = 2.0, 0.3
FILLERS = 32
"""The clients that fill it, without pauses."""
FILL_SLICE = 2.0
QUIET = 25
"""The percentile of the rounds that is used."""
TARGET_RATIO, TARGET_MIB = 1.05, 10.0
MIB = 1024 * 1024 / MB


@dataclass
class Case:
    server: Child
    port: int
    rounds: list[Figures] = field(default_factory=list)
    cpu_s: float = 0.0
    """CPU seconds in all rounds."""
    mib: float = 0.0

    @property
    def p50(self) -> float:
        return percentile((figures.p50 for figures in self.rounds), QUIET)

    @property
    def p99(self) -> float:
        return percentile((figures.p99 for figures in self.rounds), QUIET)

    @property
    def cpu_ms(self) -> float:
        """The process's total CPU time per request, in milliseconds."""
        return 1_000 * self.cpu_s / sum(figures.count for figures in self.rounds)


class ShippingBench:
    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder, self._stack, self._key = folder, stack, new_key()

    async def start(self) -> dict[str, Case]:
        livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=self._folder / "livekit.log")
        await self._stack.enter_async_context(livekit)
        log = self._folder / "collector.log"
        self._collector = await self._stack.enter_async_context(
            running("benchmarks.log_collector", *WITH_A_COLLECTOR, log=log)
        )
        ports = json.loads(await self._collector.receive()) | {DOWN: free_port()}
        await self._collector.ready()
        return {name: await self._server(livekit.url, name, ports.get(name)) for name in (FLOOR, *CASES)}

    async def fill(self, case: Case, requests: int) -> None:
        """Send so many requests: enough to fill the backlog."""
        asked = 0
        while asked < requests:
            asked += (await self._ask(case, FILLERS, 0, FILL_SLICE * requests / FILL)).count

    async def round(self, case: Case, seconds: float) -> None:
        before = footprint(case.server.pid)
        case.rounds.append(await self._ask(case, CLIENTS, PAUSE, seconds))
        case.cpu_s += footprint(case.server.pid).cpu_s - before.cpu_s

    async def taken(self) -> Mapping[str, int]:
        """The log entries accepted by each collector."""
        self._collector.send("?")
        return dict(json.loads(await self._collector.receive()))

    async def _server(self, livekit: str, name: str, collector: int | None) -> Case:
        port = free_port()
        environment = {
            "LIVEKIT_API_KEY": "devkey",
            "LIVEKIT_API_SECRET": "secret",
            "LIVEKIT_SERVER_URL": livekit,
            "DEPLOYMENT": f"bench-{port}",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(port),
            "API_KEYS": f"bench:{digest_of(self._key)}",
            "RATE_LIMIT": "100000",
            "RATE_LIMIT_BURST": "100000",
            "LOG_LEVEL": "info",
            "VECTOR_LOG_ENABLED": "false" if collector is None else "true",
            "VECTOR_LOG_FORMAT": "otlp" if name.endswith("otlp") else "json",
            "VECTOR_LOG_ENDPOINT": f"http://127.0.0.1:{collector or 8686}",
        }
        log = self._folder / f"{name}.log"
        server = await self._stack.enter_async_context(running("http_api", log=log, environment=environment))
        async with asyncio.timeout(60):
            while "listening" not in log.read_text():
                await asyncio.sleep(0.05)
        return Case(server, port)

    async def _ask(self, case: Case, clients: int, pause: float, seconds: float) -> Figures:
        request = f"GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._key}\r\n\r\n"
        arguments = (str(case.port), request, str(clients), str(pause), str(seconds))
        async with running("benchmarks.flood", *arguments, log=self._folder / "flood.log") as child:
            await child.ready()
            answers = json.loads(await child.receive())
        assert answers.keys() == {"200"}, f"responses with {list(answers)}"
        return Figures(**answers["200"])


async def measure(rounds: int, seconds: float, fill: int, folder: Path) -> tuple[dict[str, Case], Mapping[str, int]]:
    async with AsyncExitStack() as stack:
        bench = ShippingBench(folder, stack)
        cases = await bench.start()
        for case in cases.values():
            await bench.fill(case, fill)
        for _ in range(rounds):
            for case in random.sample(list(cases.values()), len(cases)):  # in random order
                await bench.round(case, seconds)
        for case in cases.values():
            case.mib = footprint(case.server.pid).pss_mb / MIB
        return cases, await bench.taken()


def table(cases: Mapping[str, Case], rounds: int, seconds: float) -> FigureTable:
    figures = [figure for name, case in cases.items() for figure in figures_of(name, case, cases[FLOOR])]
    title = f"Requests during log shipping, {rounds} rounds of {seconds:g} s each, by collector"
    return FigureTable(title=title, figures=figures)


def figures_of(name: str, case: Case, floor: Case) -> Iterator[Figure]:
    goal = None if case is floor else Goal(of=Compared.P99_RATIO, most=TARGET_RATIO)
    requests = sum(figures.count for figures in case.rounds)
    yield Figure(
        work="latency", by=name, unit="ms", value=case.p50, p99=case.p99, samples=requests, floor=FLOOR, goal=goal
    )
    yield Figure(work="CPU of a request", by=name, unit="ms", value=case.cpu_ms, floor=FLOOR)
    if case is not floor:
        most = Goal(most=TARGET_MIB)
        yield Figure(work="memory more than the floor", by=name, unit="MiB", value=case.mib - floor.mib, goal=most)


def check(taken: Mapping[str, int]) -> WorkCheck:
    missing = [name for name in WITH_A_COLLECTOR if name.startswith("good") and not taken.get(name)]
    return WorkCheck("the good collectors got log entries", not missing, ", ".join(missing))


def main() -> None:
    command = BenchmarkCommand("log_shipping", __doc__)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    command.add_size("seconds", SECONDS, QUICK_SECONDS, "of each round")
    command.add_size("fill", FILL, QUICK_FILL, "requests before the rounds")
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        cases, taken = run(measure(asked.rounds, asked.seconds, asked.fill, Path(folder)))
    # By work, not by case, as each is compared with the floor.
    shown = table(cases, asked.rounds, asked.seconds)
    command.finish(replace(shown, figures=sorted(shown.figures, key=lambda one: one.work)), checks=[check(taken)])


if __name__ == "__main__":
    main()
