"""Measure how fast excess requests are refused, and whether `/livez` still responds in the meantime.

    python -m benchmarks.overload

The session manager and livekit-server run as in production, with the maximum number of sessions. Clients in a separate
process request more sessions, each again as soon as it gets a response: within their caller's rate they are refused
with 503 (no capacity), beyond it with 429 (too many requests). Another process requests `/livez`, first on the idle
server, then during the flood.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.flood import Figures
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from http_api.access.api_keys import digest_of, new_key
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

SESSIONS = 20
CLIENTS, QUICK_CLIENTS = 32, 4
SECONDS, QUICK_SECONDS = 10.0, 1.0
RATE = 500
"""Requests per second of one caller: low enough to be exceeded, and high enough to see both refusals."""
LIVEZ_INTERVAL = 0.01
"""Seconds between requests to /livez."""
READY_TIMEOUT = 30.0
TARGET_MS = 50
BODY = json.dumps({"user_identity": "alice", "required_services": []})
MEANINGS = {503: "no capacity", 429: "rate limited"}

Answers = Mapping[int, Figures]
"""Figures by status."""


def post(key: str) -> str:
    lines = (
        "POST /api/v1/sessions HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
    )
    return "\r\n".join((*lines, "", BODY))


LIVEZ = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class OverloadBench:
    def __init__(self, port: int, key: str, folder: Path, stack: AsyncExitStack) -> None:
        self._port, self._key, self._folder, self._stack = port, key, folder, stack

    async def fill(self) -> None:
        """Wait until the server is ready, and open the maximum number of sessions."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._port}", headers=headers) as http:
            async with asyncio.timeout(READY_TIMEOUT):
                while not await self._is_ready(http):
                    await asyncio.sleep(0.05)
            for _ in range(SESSIONS):
                async with http.post("/api/v1/sessions", data=BODY) as answer:
                    answer.raise_for_status()

    async def idle(self, *, seconds: float) -> Answers:
        """The responses of /livez without other load."""
        return await self._figures(await self._begin(LIVEZ, 1, LIVEZ_INTERVAL, seconds))

    async def flood(self, *, clients: int, seconds: float) -> tuple[Answers, Answers]:
        """The responses to a flood of requests, and those of /livez during it."""
        livez = await self._begin(LIVEZ, 1, LIVEZ_INTERVAL, seconds)
        flood = await self._begin(post(self._key), clients, 0, seconds)
        return await self._figures(flood), await self._figures(livez)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _begin(self, request: str, clients: int, pause: float, seconds: float) -> Child:
        arguments = (str(self._port), request, str(clients), str(pause), str(seconds))
        child = await self._stack.enter_async_context(
            running("benchmarks.flood", *arguments, log=self._folder / "flood.log")
        )
        await child.ready()
        return child

    async def _figures(self, child: Child) -> Answers:
        return {int(status): Figures(**figures) for status, figures in json.loads(await child.receive()).items()}


async def measure(clients: int, seconds: float, folder: Path) -> tuple[dict[str, Figures], WorkCheck]:
    """The figures by phase, request and response status, and whether `/livez` was never refused."""
    port, key = free_port(), new_key()
    webhooks = f"http://127.0.0.1:{port}/livekit/webhook"
    livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=folder / "livekit.log")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(livekit)
        environment = {
            "LIVEKIT_API_KEY": "devkey",
            "LIVEKIT_API_SECRET": "secret",
            "LIVEKIT_SERVER_URL": livekit.url,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(port),
            "API_KEYS": f"bench:{digest_of(key)}",
            "SESSIONS_MAX": str(SESSIONS),
            "RATE_LIMIT": str(RATE),
            "RATE_LIMIT_BURST": str(RATE),
            "USER_JOIN_TIMEOUT": "3600",
        }
        await stack.enter_async_context(running("http_api", log=folder / "http_api.log", environment=environment))
        bench = OverloadBench(port, key, folder, stack)
        await bench.fill()
        idle = await bench.idle(seconds=seconds)
        flood, livez = await bench.flood(clients=clients, seconds=seconds)
    check = WorkCheck("/livez was always answered", livez.keys() == {200}, f"statuses {sorted(livez)}")
    found = {
        "idle: /livez": idle[200],
        "flood: /livez": livez[200],
        **{f"flood: {status} {MEANINGS.get(status, '')}".rstrip(): flood[status] for status in sorted(flood)},
    }
    return found, check


def table(found: Mapping[str, Figures], clients: int, seconds: float) -> FigureTable:
    figures = []
    for name, one in found.items():
        goal = Goal(of=Compared.P99, most=TARGET_MS) if name.startswith("flood") else None
        figures.append(
            Figure(work="latency", by=name, unit="ms", value=one.p50, p99=one.p99, samples=one.count, goal=goal)
        )
    figures += [Figure(work="a second", by=name, value=one.count / seconds) for name, one in found.items()]
    return FigureTable(
        title=f"{clients} clients requesting sessions of a full server for {seconds:g} s", figures=figures
    )


def main() -> None:
    command = BenchmarkCommand("overload", __doc__)
    command.add_size("clients", CLIENTS, QUICK_CLIENTS)
    command.add_size("seconds", SECONDS, QUICK_SECONDS)
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        found, check = run(measure(asked.clients, asked.seconds, Path(folder)))
    command.finish(table(found, asked.clients, asked.seconds), checks=[check])


if __name__ == "__main__":
    main()
