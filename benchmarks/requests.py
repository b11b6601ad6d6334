"""Measure what a request to the API costs, against a bare aiohttp server that answers the same bytes.

    python -m benchmarks.requests

The session manager and livekit-server run as in production, with an API key, and log JSON lines at level `info` into a
file. A session is running, with its manager in the room. Each answer is recorded first; then a second process answers
the same request with a handler that does nothing else. wrk sends the request to both in turn, for short rounds, so that
what else the machine does affects both. Then the same is done with session managers that leave out a part of what they
do for each request (benchmarks/without.py).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import footprint
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.without import PARTS
from benchmarks.wrk import WrkLoad, load, require_wrk
from http_api.access.api_keys import digest_of, new_key
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

READY_TIMEOUT = 60.0
SETTLED_AFTER = 2.0
"""Seconds until the manager has joined, and the record of the session is written."""
BODY = {"user_identity": "alice", "required_services": []}
SENT_BY_AIOHTTP = frozenset({"Content-Length", "Date", "Server"})
VARIES = frozenset({"access_token", "token_expires_at"})
"""The fields that differ between two answers to the same request."""
WHOLE, BARE, NONE = "session manager", "bare aiohttp", "without all of these"
WITHOUT = {**{f"without {part}": (part,) for part in PARTS}, NONE: tuple(PARTS)}


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def work(self) -> str:
        """The request, as figures name it."""
        parts = self.path.removeprefix("/api/v1").split("/")
        return f"{self.method} {'/'.join('{id}' if part.startswith('ses_') else part for part in parts)}"

    @property
    def fixed(self) -> tuple[int, int, object]:
        """What two answers to the same request have in common: status, number of headers, and most of the body."""
        fields = {name: value for name, value in json.loads(self.body).items() if name not in VARIES}
        return self.status, len(self.headers), fields


@dataclass(frozen=True, slots=True)
class LoadRound:
    """What one server did in one round."""

    load: WrkLoad
    cpu_us: float
    """Microseconds of CPU for one request. Other programs on the machine hardly affect it."""


@dataclass(slots=True)
class LoadedServer:
    """A server under test, and its answers to the requests that are measured."""

    child: Child
    port: int
    key: str
    answers: Sequence[RecordedResponse]
    rounds: dict[tuple[str, int], list[LoadRound]] = field(default_factory=dict)
    """By request and number of connections."""

    async def do_round(self, answer: RecordedResponse, connections: int, seconds: int, folder: Path) -> None:
        before = footprint(self.child.pid).cpu_s
        done = await load(
            f"http://127.0.0.1:{self.port}{answer.path}",
            method=answer.method,
            headers={"Authorization": f"Bearer {self.key}"},
            connections=connections,
            seconds=seconds,
            folder=folder,
        )
        cpu_us = 1e6 * (footprint(self.child.pid).cpu_s - before) / done.count
        self.rounds.setdefault((answer.work, connections), []).append(LoadRound(done, cpu_us))

    async def check(self, name: str) -> WorkCheck:
        """Whether it still answers as it did before."""
        async with asking(self.port, self.key) as http:
            now = [await recorded(http, one.method, one.path) for one in self.answers]
        same = [then.fixed == after.fixed for then, after in zip(self.answers, now, strict=True)]
        return WorkCheck(f"answers are as before: {name}", all(same), f"{sum(same)} of {len(same)}")


def asking(port: int, key: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"})


async def recorded(http: aiohttp.ClientSession, method: str, path: str) -> RecordedResponse:
    async with http.request(method, path) as answer:
        headers = {name: value for name, value in answer.headers.items() if name not in SENT_BY_AIOHTTP}
        return RecordedResponse(method, path, answer.status, headers, await answer.text())


class RequestBench:
    def __init__(self, folder: Path, livekit: LiveKitServer, stack: AsyncExitStack) -> None:
        self._folder, self._livekit, self._stack = folder, livekit, stack

    async def manager(self, name: str, without: Sequence[str] = ()) -> LoadedServer:
        """Start a session manager, as a deployment of its own, and a session of it."""
        port, key = free_port(), new_key()
        environment = {
            "LIVEKIT_API_KEY": "devkey",
            "LIVEKIT_API_SECRET": "secret",
            "LIVEKIT_SERVER_URL": self._livekit.url,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(port),
            "DEPLOYMENT": name.replace(" ", "-"),
            "API_KEYS": f"bench:{digest_of(key)}",
            "RATE_LIMIT": "100000",
            "RATE_LIMIT_BURST": "1000000",
            "USER_JOIN_TIMEOUT": "3600",
            "LOG_LEVEL": "info",
        }
        log = self._folder / f"{name}.log"
        serving = running("benchmarks.without", *without, log=log, environment=environment)
        child = await self._stack.enter_async_context(serving)
        async with asking(port, key) as http:
            answers = await child.meanwhile(self._answers(http))
        return LoadedServer(child, port, key, answers)

    async def bare(self, answers: Sequence[RecordedResponse]) -> LoadedServer:
        """Start a server that repeats these answers."""
        port, file = free_port(), self._folder / "answers.json"
        file.write_text(json.dumps([asdict(answer) for answer in answers]))
        serving = running("benchmarks.bare_api", str(port), str(file), log=self._folder / "bare.log")
        child = await self._stack.enter_async_context(serving)
        await child.ready()
        return LoadedServer(child, port, "", answers)

    async def _answers(self, http: aiohttp.ClientSession) -> list[RecordedResponse]:
        """The answers to the requests that are measured, with a session that is ready."""
        async with asyncio.timeout(READY_TIMEOUT):
            while not await _is_ready(http):
                await asyncio.sleep(0.05)
        async with http.post("/api/v1/sessions", json=BODY) as answer:
            answer.raise_for_status()
            session = f"/api/v1/sessions/{(await answer.json())['session_id']}"
        await asyncio.sleep(SETTLED_AFTER)
        asked = (("GET", session), ("GET", "/health"), ("POST", f"{session}/token"), ("GET", "/livez"))
        return [await recorded(http, method, path) for method, path in asked]


async def _is_ready(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


Servers = Mapping[str, LoadedServer]


async def measure(
    rounds: int, seconds: int, connections: Sequence[int], folder: Path
) -> tuple[Servers, Servers, list[WorkCheck]]:
    """The session manager and the bare server; the session manager and those that leave out a part."""
    async with AsyncExitStack() as stack:
        livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=folder / "livekit.log")
        bench = RequestBench(folder, await stack.enter_async_context(livekit), stack)
        whole = await bench.manager(WHOLE)
        compared = {WHOLE: whole, BARE: await bench.bare(whole.answers)}
        for index in range(len(whole.answers)):
            for number in connections:
                for _ in range(rounds):
                    for server in compared.values():
                        await server.do_round(server.answers[index], number, seconds, folder)
        parts = {WHOLE: await bench.manager("with all")}
        for name, without in WITHOUT.items():
            parts[name] = await bench.manager(name, without)
        for _ in range(rounds):
            for server in parts.values():
                await server.do_round(server.answers[0], max(connections), seconds, folder)
        checks = [await server.check(name) for group in (compared, parts) for name, server in group.items()]
    return compared, parts, checks


def rates(compared: Servers) -> FigureTable:
    goal = Goal(of=Compared.RATIO, least=0.5)
    figures = []
    for work, number in compared[WHOLE].rounds:
        for name, server in compared.items():
            samples = [one.load.per_second for one in server.rounds[work, number]]
            floor = BARE if name == WHOLE else None
            named = f"{work}, {number} connection{'s' if number > 1 else ''}"
            figures.append(Figure.of(named, name, samples, "/s", floor=floor, goal=goal if floor else None))
    return FigureTable(title="Requests a second", figures=figures)


def cpu(title: str, servers: Servers, floor: str, goal: Goal | None = None) -> FigureTable:
    """CPU of one request with the most connections, as ratios to those of the floor."""
    figures = []
    for work, number in servers[WHOLE].rounds:
        if number == max(number for _, number in servers[WHOLE].rounds):
            for name, server in servers.items():
                samples = [one.cpu_us for one in server.rounds[work, number]]
                figures.append(
                    Figure.of(
                        work,
                        name,
                        samples,
                        "us",
                        floor=floor if name != floor else None,
                        goal=goal if name == WHOLE else None,
                    )
                )
    return FigureTable(title=title, figures=figures)


def main() -> None:
    command = BenchmarkCommand("requests", __doc__)
    command.add_size("rounds", 6, 1)
    command.add_size("seconds", 1, 1, "seconds of one round")
    command.add_size("connections", (1, 32), (1, 32))
    asked = command.read()
    require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        compared, parts, checks = run(measure(asked.rounds, asked.seconds, asked.connections, Path(folder)))
    command.finish(
        rates(compared),
        cpu("CPU of a request", compared, BARE),
        cpu("CPU of a request without a part", parts, NONE, Goal(of=Compared.RATIO, most=1.5)),
        checks=checks,
    )


if __name__ == "__main__":
    main()
