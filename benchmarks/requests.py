"""Measure what a request to the API costs, against a bare aiohttp server that answers the same bytes.

    python -m benchmarks.requests

The session manager and livekit-server run as in production, with an API key, and log JSON lines at level `info` into a
file. A session is running, with its manager in the room. For each request, its answer is recorded first, and a second
process answers it with a handler that does nothing else. wrk sends the request to both in turn, for short rounds, so
that what else the machine does affects both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
from rich.console import Console
from rich.table import Table

from benchmarks.child import Child, run, running
from benchmarks.measuring import footprint
from benchmarks.wrk import WrkLoad, load, require_wrk
from http_api.access.api_keys import digest_of, new_key
from scripts.livekit_server import LiveKitServer, find_or_build, free_port

READY_TIMEOUT = 30.0
CONNECTIONS = (1, 32)
BODY = {"user_identity": "alice", "required_services": []}
SENT_BY_AIOHTTP = frozenset({"Content-Length", "Date", "Server"})
VARIES = frozenset({"access_token", "token_expires_at"})
"""The fields that differ between two answers to the same request."""


@dataclass(frozen=True, slots=True)
class RecordedResponse:
    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: str

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


@dataclass(frozen=True, slots=True)
class ComparedRequest:
    """The rounds of one request over so many connections."""

    request: str
    connections: int
    ours: list[LoadRound] = field(default_factory=list)
    bare: list[LoadRound] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Our requests a second in each round, divided by those of the bare server in the same round."""
        rounds = zip(self.ours, self.bare, strict=True)
        return sorted(ours.load.per_second / bare.load.per_second for ours, bare in rounds)


class RequestBench:
    def __init__(self, folder: Path, *, rounds: int, seconds: int) -> None:
        self._folder, self._rounds, self._seconds = folder, rounds, seconds
        self._port, self._bare_port, self._key = free_port(), free_port(), new_key()
        self._headers = {"Authorization": f"Bearer {self._key}"}

    async def measure(self) -> list[ComparedRequest]:
        async with AsyncExitStack() as stack:
            ours = await self._start_ours(stack)
            async with aiohttp.ClientSession(headers=self._headers) as http:
                answers = await self._record(http)
                file = self._folder / "answers.json"
                file.write_text(json.dumps([asdict(answer) for answer in answers]))
                arguments = (str(self._bare_port), str(file))
                bare = await stack.enter_async_context(
                    running("benchmarks.bare_api", *arguments, log=self._folder / "bare.log")
                )
                await bare.ready()
                await self._check(http, answers)
                found = [await self._compared(answer, n, ours, bare) for n in CONNECTIONS for answer in answers]
                await self._check(http, answers)
        return found

    async def _start_ours(self, stack: AsyncExitStack) -> Child:
        webhooks = f"http://127.0.0.1:{self._port}/livekit/webhook"
        livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=self._folder / "lk.log")
        await stack.enter_async_context(livekit)
        environment = {
            "LIVEKIT_API_KEY": "devkey",
            "LIVEKIT_API_SECRET": "secret",
            "LIVEKIT_SERVER_URL": livekit.url,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self._port),
            "API_KEYS": f"bench:{digest_of(self._key)}",
            "RATE_LIMIT": "100000",
            "RATE_LIMIT_BURST": "1000000",
            "USER_JOIN_TIMEOUT": "3600",
            "LOG_LEVEL": "info",
        }
        serving = running("http_api", log=self._folder / "http_api.log", environment=environment)
        return await stack.enter_async_context(serving)

    async def _record(self, http: aiohttp.ClientSession) -> list[RecordedResponse]:
        """Our answers to the requests that are measured, with a session that is ready."""
        async with asyncio.timeout(READY_TIMEOUT):
            while not await self._is_ready(http):
                await asyncio.sleep(0.05)
        async with http.post(f"{self._url(ours=True)}/api/v1/sessions", json=BODY) as answer:
            answer.raise_for_status()
            session = f"/api/v1/sessions/{(await answer.json())['session_id']}"
        await asyncio.sleep(2)  # the manager joins, and the record is written
        asked = (("GET", session), ("GET", "/health"), ("POST", f"{session}/token"), ("GET", "/livez"))
        return [await self._ask(http, method, path, ours=True) for method, path in asked]

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self._url(ours=True)}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _ask(self, http: aiohttp.ClientSession, method: str, path: str, *, ours: bool) -> RecordedResponse:
        async with http.request(method, self._url(ours=ours) + path) as answer:
            headers = {name: value for name, value in answer.headers.items() if name not in SENT_BY_AIOHTTP}
            return RecordedResponse(method, path, answer.status, headers, await answer.text())

    async def _check(self, http: aiohttp.ClientSession, answers: Sequence[RecordedResponse]) -> None:
        """Check that both servers do the same work, and that the session has not changed."""
        for expected in answers:
            for ours in (True, False):
                found = await self._ask(http, expected.method, expected.path, ours=ours)
                assert found.fixed == expected.fixed, f"{expected.path}, ours={ours}: {found} is not {expected}"

    async def _compared(self, answer: RecordedResponse, connections: int, ours: Child, bare: Child) -> ComparedRequest:
        found = ComparedRequest(f"{answer.method} {_shown(answer.path)}", connections)
        for _ in range(self._rounds):
            found.ours.append(await self._round(answer, connections, ours, self._url(ours=True)))
            found.bare.append(await self._round(answer, connections, bare, self._url(ours=False)))
        return found

    async def _round(self, answer: RecordedResponse, connections: int, server: Child, url: str) -> LoadRound:
        before = footprint(server.pid).cpu_s
        done = await load(
            url + answer.path,
            method=answer.method,
            headers=self._headers,
            connections=connections,
            seconds=self._seconds,
            folder=self._folder,
        )
        return LoadRound(done, 1e6 * (footprint(server.pid).cpu_s - before) / done.count)

    def _url(self, *, ours: bool) -> str:
        return f"http://127.0.0.1:{self._port if ours else self._bare_port}"


def _shown(path: str) -> str:
    return "/".join("{id}" if part.startswith("ses_") else part for part in path.removeprefix("/api/v1").split("/"))


def show(found: Sequence[ComparedRequest]) -> None:
    for number in CONNECTIONS:
        table = Table(title=f"{number} connections: requests a second, ms, CPU us of a request; medians of the rounds")
        for heading in ("", "ours", "p50", "p99", "cpu", "bare", "p50", "p99", "cpu", "ratio", "lowest", "highest"):
            table.add_column(heading, justify="right" if heading else "left")
        for one in found:
            if one.connections == number:
                ratios = (median(one.ratios), one.ratios[0], one.ratios[-1])
                cells = (*_cells(one.ours), *_cells(one.bare), *(f"{ratio:.2f}" for ratio in ratios))
                table.add_row(one.request, *cells)
        Console(width=120).print(table)


def _cells(rounds: Sequence[LoadRound]) -> tuple[str, str, str, str]:
    loads = [round.load for round in rounds]
    rate, p50, p99 = (median(getattr(load, name) for load in loads) for name in ("per_second", "p50", "p99"))
    return f"{rate:.0f}", f"{p50:.2f}", f"{p99:.2f}", f"{median(round.cpu_us for round in rounds):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one round")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file, too")
    arguments = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as folder:
        bench = RequestBench(Path(folder), rounds=arguments.rounds, seconds=arguments.seconds)
        found = run(bench.measure())
    show(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
