"""Measure what it costs a user that the token is given only when all services are in the room.

    python -m benchmarks.gate

A session requires three services that join at once. The floor is the slowest of three that a bare client invites into a
room that exists: its invite and its join. Others give tokens without a gate, or make one of what LiveKit has: a token
server that does not wait, and an agent of livekit-agents by plain dispatch, looked for by polling list_participants.
All are up at the same time and take turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
from livekit import api

from benchmarks.arrivals import delete_rooms
from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import KEY, SECRET, environment, token
from benchmarks.process_start import ready
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.token_server import invite
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

SERVICES = ("asr", "llm", "tts")
TURNS, QUICK_TURNS = 30, 2
SETTLE, QUICK_SETTLE = 0.3, 0.1
"""Seconds after the room of a turn is deleted."""
POLL_INTERVAL = 0.1
"""Of list_participants."""
TIMEOUT = 30.0
FLOOR, OURS = "floor: the slowest service's invite and join", "session manager"
HASTY, POLLING = "token server that does not wait", "agent by plain dispatch, polling"
HAS_TOKEN, IS_SERVED = "until the client has its token", "until it has it, and all services are in the room"
GOAL = Goal(of=Compared.RATIO, most=1.15)


class JoinedServices:
    """When the services of each room have joined."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._instants: dict[str, list[float]] = {}
        self._all_in: dict[str, asyncio.Event] = {}

    async def listen(self) -> None:
        """Process the child's lines. Never returns."""
        while True:
            _, name, instant = (await self._child.receive()).split(" ")
            self._instants.setdefault(name, []).append(float(instant))
            if len(self._instants[name]) == len(SERVICES):
                self._event(name).set()

    async def last_in(self, room_name: str) -> float:
        """The instant at which the last of them joined."""
        await self._event(room_name).wait()
        return max(self._instants[room_name])

    def _event(self, room_name: str) -> asyncio.Event:
        return self._all_in.setdefault(room_name, asyncio.Event())


@dataclass(frozen=True, slots=True)
class TokenTurn:
    """Instants, in seconds since the epoch."""

    has_token: float
    is_served: float | None = None


@dataclass(slots=True)
class TokenCase:
    name: str
    take: Callable[[], Awaitable[TokenTurn]]
    token_ms: list[float] = field(default_factory=list)
    served_ms: list[float] = field(default_factory=list)

    async def turn(self) -> None:
        began = time.time()
        async with asyncio.timeout(TIMEOUT):
            done = await self.take()
        self.token_ms.append(1_000 * (done.has_token - began))
        if done.is_served is not None:
            self.served_ms.append(1_000 * (done.is_served - began))


class GateBench:
    def __init__(
        self, server: LiveKitServer, livekit: api.LiveKitAPI, http: aiohttp.ClientSession, joined: JoinedServices
    ) -> None:
        self._server, self._livekit, self._http, self._joined = server, livekit, http, joined
        self._numbers = count()

    async def invite(self, endpoints: Sequence[str]) -> TokenTurn:
        """The floor. The room exists before the clock starts, see prepare()."""
        name = self._room_name
        await asyncio.gather(*(invite(self._http, endpoint, self._server.url, name) for endpoint in endpoints))
        return TokenTurn(await self._joined.last_in(name))

    async def prepare(self) -> None:
        self._room_name = f"floor-{next(self._numbers)}"
        await self._livekit.room.create_room(api.CreateRoomRequest(name=self._room_name))

    async def session(self, url: str) -> TokenTurn:
        body = {"user_identity": "alice", "required_services": list(SERVICES)}
        async with self._http.post(f"{url}/api/v1/sessions", json=body, raise_for_status=True) as answer:
            session = await answer.json()
        has_token = time.time()
        assert session["access_token"]
        return TokenTurn(has_token, max(has_token, await self._joined.last_in(session["room_name"])))

    async def hasty(self, url: str) -> TokenTurn:
        async with self._http.post(url, raise_for_status=True) as answer:
            name = (await answer.json())["room_name"]
        has_token = time.time()
        return TokenTurn(has_token, max(has_token, await self._joined.last_in(name)))

    async def polling(self, agents: Child) -> TokenTurn:
        """livekit-agents makes the room, with a dispatch."""
        name = f"dispatched-{next(self._numbers)}"
        agents.send(name)
        while not await self._has_agent(name):
            await asyncio.sleep(POLL_INTERVAL)
        assert token(name, "user", hidden=False)
        return TokenTurn(now := time.time(), now)

    async def _has_agent(self, name: str) -> bool:
        try:
            listed = await self._livekit.room.list_participants(api.ListParticipantsRequest(room=name))
        except api.TwirpError:
            return False  # there is no such room yet
        return any(one.state == api.ParticipantInfo.ACTIVE for one in listed.participants)


@asynccontextmanager
async def token_cases(folder: Path) -> AsyncIterator[tuple[list[TokenCase], GateBench, LiveKitServer]]:
    port, services, hasty = free_port(), free_port(), free_port()
    url, endpoints = f"http://127.0.0.1:{port}", [f"http://127.0.0.1:{services}/{name}" for name in SERVICES]
    async with AsyncExitStack() as stack:
        log, webhooks = folder / "livekit.log", f"{url}/livekit/webhook"
        livekit_server = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=log)
        server = await stack.enter_async_context(livekit_server)

        async def child(module: str, *arguments: str, **env: str) -> Child:
            return await stack.enter_async_context(
                running(module, *arguments, log=folder / f"{module}.log", environment=env)
            )

        manager = await child("http_api", "--dev", **environment(server.url, port))
        service = await child("benchmarks.joining_services", str(services))
        tokens = await child("benchmarks.token_server", str(hasty), server.url, *endpoints)
        agents = await child("benchmarks.designs", "process", server.url)
        for one in (service, tokens, agents):
            await one.ready()
        await manager.meanwhile(ready(f"{url}/readyz"))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        livekit = await stack.enter_async_context(api.LiveKitAPI(server.http_url, KEY, SECRET))
        for name, endpoint in zip(SERVICES, endpoints, strict=True):
            entry = {"service_id": name, "endpoint": endpoint, "ready_on": "join", "metadata": {"type": name}}
            await http.post(f"{url}/api/v1/microservices/register", json=entry, raise_for_status=True)
        joined = JoinedServices(service)
        listening = asyncio.create_task(joined.listen())
        stack.callback(listening.cancel)
        bench = GateBench(server, livekit, http, joined)
        cases = [
            TokenCase(FLOOR, lambda: bench.invite(endpoints)),
            TokenCase(OURS, lambda: bench.session(url)),
            TokenCase(HASTY, lambda: bench.hasty(f"http://127.0.0.1:{hasty}/")),
            TokenCase(POLLING, lambda: bench.polling(agents)),
        ]
        yield cases, bench, server


async def measure(turns: int, settle: float, folder: Path) -> Sequence[TokenCase]:
    async with token_cases(folder) as (cases, bench, server):
        for number in range(turns + 1):
            for case in cases:
                await bench.prepare()
                await case.turn()
                await delete_rooms(server.url)
                await asyncio.sleep(settle)
                if not number:  # connections were opened, and the first room of each process
                    case.token_ms.clear()
                    case.served_ms.clear()
        return cases


def table(cases: Sequence[TokenCase]) -> FigureTable:
    figures = [
        Figure.of(
            HAS_TOKEN, case.name, case.token_ms, "ms", floor=FLOOR if case.name != FLOOR else None,
            goal=GOAL if case.name == OURS else None,
        )
        for case in cases
    ]  # fmt: skip
    figures += [
        Figure.of(IS_SERVED, case.name, case.served_ms, "ms", floor=HASTY if case.name != HASTY else None)
        for case in cases
        if case.served_ms
    ]
    return FigureTable(title=f"From the request, with {len(SERVICES)} services", figures=figures)


def main() -> None:
    command = BenchmarkCommand("gate", __doc__)
    command.add_size("turns", TURNS, QUICK_TURNS, "turns of each")
    command.add_size("settle", SETTLE, QUICK_SETTLE, "seconds between two turns")
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        cases = run(measure(asked.turns, asked.settle, Path(folder)))
    counts = ", ".join(f"{case.name}: {len(case.token_ms)} of {asked.turns}" for case in cases)
    is_whole = all(len(case.token_ms) == asked.turns for case in cases)
    command.finish(table(cases), checks=[WorkCheck("each turn ended with a token", is_whole, counts)])


if __name__ == "__main__":
    main()
