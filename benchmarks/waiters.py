"""Measure what those cost who follow a session, and how soon a change has reached all of them.

    python -m benchmarks.waiters

Clients follow the events of one session, each over a connection of its own. A service of the session says that it is
ready, which is one change, and the clock stops when the last client has read it. The floor is a bare aiohttp server
that sends the same bytes to as many clients. Both are up at the same time, and take turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import MB, footprint
from benchmarks.one_service import environment, listening
from benchmarks.process_start import ready
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from manager_agent.messages import Invite
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

WAITERS, QUICK_WAITERS = 5_000, 20
CHANGES, QUICK_CHANGES = 5, 2
OPENED_AT_ONCE = 100
SETTLE = 1.0
REACHED_WITHIN = 120.0
OURS, BARE = "session manager", "bare aiohttp"
MEMORY, REACH = Goal(of=Compared.RATIO, most=1.3), Goal(most=150)
LONG = {"SERVICE_JOIN_TIMEOUT": "600", "READY_TIMEOUT": "600", "LOG_LEVEL": "error"}


class StreamClient:
    """One who follows, and has little to do with what it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.seen = 0
        """Bytes of events."""

    @classmethod
    async def open(cls, port: int, path: str) -> StreamClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def read_until(self, mark: bytes) -> None:
        """Read up to an event with this in it."""
        self.seen += len(await self._reader.readuntil(mark))

    def close(self) -> None:
        self._writer.transport.abort()


@dataclass(slots=True)
class FollowedServer:
    name: str
    child: Child
    port: int
    path: str
    change: Callable[[int], Awaitable[bytes]]
    """Makes a change, the one of this number. Returns what an event has then that none before had."""
    clients: list[StreamClient] = field(default_factory=list)
    kb_each: float = 0.0
    reached_ms: list[float] = field(default_factory=list)
    reached: int = 0
    """Clients that read a change, of all changes."""

    async def open(self, count: int) -> None:
        before = footprint(self.child.pid).pss_mb
        for begin in range(0, count, OPENED_AT_ONCE):
            opening = (StreamClient.open(self.port, self.path) for _ in range(min(OPENED_AT_ONCE, count - begin)))
            self.clients += await asyncio.gather(*opening)
        await asyncio.sleep(SETTLE)
        self.kb_each = (footprint(self.child.pid).pss_mb - before) * MB / count / 1_000

    async def turn(self, number: int) -> None:
        began = time.perf_counter()
        mark = await self.change(number)
        async with asyncio.timeout(REACHED_WITHIN):
            await asyncio.gather(*(client.read_until(mark) for client in self.clients))
        self.reached_ms.append(1_000 * (time.perf_counter() - began))
        self.reached += len(self.clients)

    def close(self) -> None:
        for client in self.clients:
            client.close()


@asynccontextmanager
async def ours(folder: Path, changes: int) -> AsyncIterator[FollowedServer]:
    """A session manager, and a session with a service for each change."""
    port, invites, names = free_port(), dict[str, Invite](), [f"service-{number}" for number in range(changes)]
    url, all_invited = f"http://127.0.0.1:{port}", asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        text = await request.text()
        if '"session_ended"' not in text:
            invite = Invite.model_validate_json(text)
            invites[invite.service_id] = invite
            if len(invites) == changes:
                all_invited.set()
        return web.Response()

    async with AsyncExitStack() as stack:
        livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=folder / "livekit.log")
        await stack.enter_async_context(livekit)
        settings = environment(livekit.url, port) | LONG
        child = await stack.enter_async_context(
            running("http_api", "--dev", log=folder / "api.log", environment=settings)
        )
        await child.meanwhile(ready(f"{url}/readyz"))
        http = await stack.enter_async_context(aiohttp.ClientSession(url, raise_for_status=True))
        endpoint = await stack.enter_async_context(listening(receive))
        for name in names:
            service = {"service_id": name, "endpoint": endpoint, "ready_on": "signal", "metadata": {"type": name}}
            await http.post("/api/v1/microservices/register", json=service)
        body, at_once = {"user_identity": "alice", "required_services": names}, {"Prefer": "respond-async"}
        async with http.post("/api/v1/sessions", json=body, headers=at_once) as answer:
            path = f"/api/v1/sessions/{(await answer.json())['session_id']}"
        await child.meanwhile(asyncio.wait_for(all_invited.wait(), REACHED_WITHIN))

        async def say_ready(number: int) -> bytes:
            headers = {"Authorization": f"Bearer {invites[names[number]].token}"}
            said = {"service_id": names[number]}
            async with http.post(f"{path}/ready", json=said, headers=headers) as answer:
                return f"id: {(await answer.json())['revision']}\r\n".encode()

        yield FollowedServer(OURS, child, port, f"{path}/events", say_ready)


@asynccontextmanager
async def bare(folder: Path, event: Callable[[int], bytes]) -> AsyncIterator[FollowedServer]:
    """`event`: what to send for the change of this number."""
    port = free_port()
    async with (
        running("benchmarks.bare_stream", str(port), log=folder / "bare.log") as child,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", raise_for_status=True) as http,
    ):
        await child.ready()

        async def tell(number: int) -> bytes:
            async with http.post("/", data=event(number)):
                return f"id: bare-{number}\r\n".encode()

        yield FollowedServer(BARE, child, port, "/", tell)


async def measure(waiters: int, changes: int, folder: Path) -> Sequence[FollowedServer]:
    async with ours(folder, changes) as managed:
        one = await StreamClient.open(managed.port, managed.path)
        await one.read_until(b"\r\n\r\n")
        await one.read_until(b"\r\n\r\n")
        size = one.seen
        one.close()

        def event(number: int) -> bytes:
            return f"id: bare-{number}\r\ndata: ".encode().ljust(size, b".") + b"\r\n\r\n"

        async with bare(folder, event) as floor:
            servers = floor, managed
            for server in servers:
                await server.open(waiters)
            for number in range(changes):
                for server in servers:
                    await server.turn(number)
            for server in servers:
                server.close()
    return servers


def table(servers: Sequence[FollowedServer], waiters: int) -> FigureTable:
    figures = []
    for work, unit, goal in (("memory of each, PSS", "kB", MEMORY), ("a change has reached all", "ms", REACH)):
        for one in servers:
            samples = [one.kb_each] if unit == "kB" else one.reached_ms
            to_reach, floor = (goal, BARE) if one.name == OURS else (None, None)
            figures.append(Figure.of(work, one.name, samples, unit, floor=floor, goal=to_reach))
    return FigureTable(title=f"{waiters:,} clients that follow a session", figures=figures)


def main() -> None:
    command = BenchmarkCommand("waiters", __doc__)
    command.add_size("waiters", WAITERS, QUICK_WAITERS, "clients that follow the session")
    command.add_size("changes", CHANGES, QUICK_CHANGES, "changes that they are told of")
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        servers = run(measure(asked.waiters, asked.changes, Path(folder)))
    found = ", ".join(f"{one.name}: {one.reached} of {asked.waiters * asked.changes}" for one in servers)
    all_reached = all(one.reached == asked.waiters * asked.changes for one in servers)
    command.finish(table(servers, asked.waiters), checks=[WorkCheck("all were told", all_reached, found)])


if __name__ == "__main__":
    main()
