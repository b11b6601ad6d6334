"""Measure how soon the join of a service is noticed: by the SDK's room event alone, and by this project.

    python -m benchmarks.join_latency

The latency is the time from the return of the service's own connect(), by the wall clock of this machine; it is
negative when the join was noticed before. The services run in this process and publish nothing, like most services
when they join. The observer runs in another process with its own livekit-server, because a server sends its webhooks to
fixed addresses.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import web
from livekit import api, rtc
from rich.console import Console

from benchmarks.child import START_TIMEOUT, Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from manager_agent.livekit.ffi import disable_log_capture
from scripts.livekit_server import LiveKitServer, find_or_build, free_port

KEY, SECRET = "devkey", "secret"
SERVICE_ID = "benchmark-service"
JOINS, QUICK_JOINS = 60, 1
CALLERS, QUICK_CALLERS = (1, 4), (1,)
PAUSE = 0.2
"""Seconds between two joins of one caller. Without the pause the machine's load would be measured."""
POLL_INTERVAL = 0.2
TIMEOUT = 15.0
"""Seconds. A room that is not open by then is an error; a join that is not noticed by then counts as never noticed."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A service's access to a watched room."""

    room: str
    url: str
    token: str


class RoomWatch(Protocol):
    """Rooms watched by one of the designs."""

    async def open(self) -> Seat:
        """Open a new room for one service."""

    async def known_at(self, seat: Seat) -> float:
        """Wait until the service's join is noticed. Returns the instant."""

    async def close(self, seat: Seat) -> None:
        """Close the room."""


class RoomEvents:
    """benchmarks/room_event.py in a child."""

    def __init__(self, child: Child, livekit: api.LiveKitAPI, url: str) -> None:
        self._child, self._livekit, self._url = child, livekit, url
        self._numbers = count()
        self._watching: dict[str, asyncio.Future[None]] = {}
        self._joined: dict[str, asyncio.Future[float]] = {}

    async def open(self) -> Seat:
        name, loop = f"event-{next(self._numbers)}", asyncio.get_running_loop()
        self._watching[name], self._joined[name] = loop.create_future(), loop.create_future()
        await self._livekit.room.create_room(api.CreateRoomRequest(name=name))
        self._child.send(f"{name} {token(name, 'manager', hidden=True)}")
        await self._watching[name]
        return Seat(name, self._url, token(name, "service", hidden=False))

    async def known_at(self, seat: Seat) -> float:
        return await self._joined[seat.room]

    async def close(self, seat: Seat) -> None:
        await self._livekit.room.delete_room(api.DeleteRoomRequest(room=seat.room))

    async def listen(self) -> None:
        """Process the child's lines. Never returns."""
        while True:
            match (await self._child.receive()).split(" "):
                case ["watching", name]:
                    self._watching[name].set_result(None)
                case ["joined", name, instant] if not self._joined[name].done():
                    self._joined[name].set_result(float(instant))


class Sessions:
    """The session manager: creates a session over HTTP for every join."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._invites: dict[str, asyncio.Future[Seat]] = {}
        self._sessions: dict[str, str] = {}

    async def open(self) -> Seat:
        body = {"user_identity": "user", "required_services": [SERVICE_ID]}
        headers = {"Prefer": "respond-async"}
        async with self._http.post("/api/v1/sessions", json=body, headers=headers) as answer:
            session = await answer.json()
        self._sessions[session["room_name"]] = session["session_id"]
        return await self._invite(session["room_name"])

    async def known_at(self, seat: Seat, step: str = "joined") -> float:
        """The instant of the service's step, from the session's timeline: with millisecond precision, so polling does
        not affect the result."""
        while True:
            async with self._http.get(f"/api/v1/sessions/{self._sessions[seat.room]}") as answer:
                timeline = (await answer.json())["services"][0]["timeline"]
            if step in timeline:
                return datetime.fromisoformat(timeline[step]).timestamp()
            await asyncio.sleep(POLL_INTERVAL)

    async def close(self, seat: Seat) -> None:
        async with self._http.delete(f"/api/v1/sessions/{self._sessions[seat.room]}"):
            pass

    async def receive(self, request: web.Request) -> web.Response:
        """Receive an invite or a session_ended message."""
        message = json.loads(await request.read())
        if message["event"] == "session_invited":
            room = message["session"]["room_name"]
            self._invite(room).set_result(Seat(room, message["server_url"], message["token"]))
        return web.Response()

    def _invite(self, room: str) -> asyncio.Future[Seat]:
        """The invite into this room. It may arrive before the response to the request for the session."""
        return self._invites.setdefault(room, asyncio.get_running_loop().create_future())


@asynccontextmanager
async def room_events(binary: Path, folder: Path) -> AsyncIterator[RoomWatch]:
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=None, log=folder / "livekit-server.log") as server,
        running("benchmarks.room_event", server.url, log=folder / "room_event.log") as child,
        api.LiveKitAPI(server.url, KEY, SECRET) as livekit,
    ):
        await child.ready()
        watch = RoomEvents(child, livekit, server.url)
        listening = asyncio.create_task(watch.listen())
        yield watch
        listening.cancel()


@asynccontextmanager
async def sessions(binary: Path, folder: Path, *, webhooks: bool) -> AsyncIterator[RoomWatch]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    webhook_url = f"{url}/livekit/webhook" if webhooks else None
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=folder / "livekit-server.log") as server,
        running("http_api", "--dev", log=folder / "api.log", environment=environment(server.url, port)),
        aiohttp.ClientSession(url) as http,
    ):
        watch = Sessions(http)
        async with listening(watch.receive) as endpoint:
            await registered(http, endpoint)
            yield watch


def environment(livekit_url: str, port: int) -> dict[str, str]:
    return {"LIVEKIT_SERVER_URL": livekit_url, "SERVER_PORT": str(port), "LOG_LEVEL": "info"}


@asynccontextmanager
async def listening(receive: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """Serve the endpoint of the service that all sessions require. Yields its URL."""
    app, port = web.Application(), free_port()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def registered(http: aiohttp.ClientSession, endpoint: str, ready_on: str = "join") -> None:
    """Wait until the session manager is ready, and register the service."""
    metadata = {"type": "BENCHMARK"}
    service = {"service_id": SERVICE_ID, "endpoint": endpoint, "ready_on": ready_on, "metadata": metadata}
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get("/readyz") as ready:
                    if ready.ok:
                        break
            await asyncio.sleep(POLL_INTERVAL)
        async with http.post("/api/v1/microservices/register", json=service, raise_for_status=True):
            pass


def token(room: str, identity: str, *, hidden: bool) -> str:
    grants = api.VideoGrants(room_join=True, room=room, hidden=hidden)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_kind("agent").with_grants(grants).to_jwt()


@dataclass(frozen=True, slots=True)
class WatchDesign:
    title: str
    start: Callable[[Path, Path], AbstractAsyncContextManager[RoomWatch]]
    goal: Goal | None = None


EVENT = "room event alone"
SOONER = Goal(of=Compared.P99_RATIO, most=1 / 40)
DESIGNS = (
    WatchDesign(EVENT, room_events),
    WatchDesign("session manager, no webhooks", partial(sessions, webhooks=False)),
    WatchDesign("session manager", partial(sessions, webhooks=True), SOONER),
)


@dataclass(frozen=True, slots=True)
class Latencies:
    """The latencies of one design with `callers` services joining at the same time."""

    design: WatchDesign
    callers: int
    ms: Sequence[float]
    """Latencies of the joins that were noticed within TIMEOUT."""
    unknown: int


def main() -> None:
    command = BenchmarkCommand("join_latency", __doc__)
    command.add_size("joins", JOINS, QUICK_JOINS, "joins per row of the table")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "concurrent joins")
    asked = command.read()
    disable_log_capture()
    with tempfile.TemporaryDirectory(prefix="join-latency-") as folder:
        results = run(measure_all(asked.joins, asked.callers, Path(folder)))
    never = [f"{one.design.title}, {one.callers} at a time: {one.unknown}" for one in results if one.unknown]
    check = WorkCheck(f"each join was noticed within {TIMEOUT:g} s", not never, "; ".join(never))
    command.finish(table(results), checks=[check])


async def measure_all(joins: int, callers: Sequence[int], folder: Path) -> list[Latencies]:
    console, results = Console(stderr=True), []
    binary = await asyncio.to_thread(find_or_build)
    for design in DESIGNS:
        async with design.start(binary, folder) as watch:
            for at_a_time in callers:
                console.print(f"{design.title}: {joins} joins, {at_a_time} at a time ...")
                results.append(await measure(design, watch, joins, at_a_time))
    return results


async def measure(design: WatchDesign, watch: RoomWatch, joins: int, callers: int) -> Latencies:
    gate = asyncio.Semaphore(callers)
    latencies = await asyncio.gather(*(latency_ms(watch, gate) for _ in range(joins)))
    known = [latency for latency in latencies if latency is not None]
    return Latencies(design, callers, known, joins - len(known))


async def latency_ms(watch: RoomWatch, gate: asyncio.Semaphore) -> float | None:
    """The latency of one service's join; None when it was never noticed."""
    room = rtc.Room()
    async with gate:
        async with asyncio.timeout(TIMEOUT):
            seat = await watch.open()
        await room.connect(seat.url, seat.token, rtc.RoomOptions(auto_subscribe=False))
        connected_at = time.time()
        await asyncio.sleep(PAUSE)
    try:
        async with asyncio.timeout(TIMEOUT):
            return 1_000 * (await watch.known_at(seat) - connected_at)
    except TimeoutError:
        return None
    finally:
        await room.disconnect()
        await watch.close(seat)


def table(results: Sequence[Latencies]) -> FigureTable:
    figures = [
        Figure.of(f"{one.callers} at a time", one.design.title, one.ms, "ms", floor=EVENT, goal=one.design.goal)
        for one in results
        if one.ms
    ]
    ordered = sorted(figures, key=lambda figure: figure.work)
    return FigureTable(title="From a service's connect() until its join is noticed", figures=ordered)


if __name__ == "__main__":
    main()
