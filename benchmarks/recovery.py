"""Measure how soon a killed session manager's rooms are looked after again.

    python -m benchmarks.recovery [--rooms 300]

A session manager in a process of its own opens sessions without services, each with its room and its manager. It is
killed (SIGKILL), and another process is started. One floor is as many bare joins, by the SDK at its best in a process
that is up already. The other is what LiveKit needs to answer the same questions: the list of rooms and, for each room,
its dispatches and participants, asked by this process with the bare client.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
from livekit import api

from benchmarks.arrivals import delete_rooms
from benchmarks.child import environment_with, run
from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal, Layout
from benchmarks.room_cost import DESIGNS, LEAN, started
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from scripts.repository import ROOT

KEY, SECRET = "devkey", "secret"
ROOMS, QUICK = 300, 3
AT_ONCE = 16
MANAGER, BARE_MANAGER = "sm-manager-", "manager"
SINCE_KILL, SINCE_LISTENING, JOINS = "since SIGKILL", "since it listens", "bare joins"
SOON = Goal(of=Compared.RATIO, most=1.3)
POLL_PAUSE = 0.1

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds."""

    joins: float
    """As many bare joins."""
    floor: float
    """The bare calls to LiveKit."""
    listening: float
    """From SIGKILL until the next process listens: the start of a Python process."""
    new_session: float
    """From SIGKILL until a new session is created."""
    answered: float
    """From SIGKILL until every session is answered by GET."""
    managed: float
    """From SIGKILL until every room has its new manager."""


class RecoveryBench:
    def __init__(self, http: aiohttp.ClientSession, livekit: api.LiveKitAPI, environment: dict[str, str], log: Path):
        self._http, self._livekit, self._log = http, livekit, log
        self._environment = environment_with(environment)
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the process; it does not listen yet."""
        with self._log.open("ab") as log:
            command = (sys.executable, "-m", "http_api", "--dev")
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=self._environment, stdin=DEVNULL, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def until(self, method: str, path: str, *statuses: int, body: object = None) -> dict[str, str]:
        """Ask until the answer has one of these statuses, and return its body."""
        while True:
            try:
                async with self._http.request(method, path, json=body, headers={"Prefer": "respond-async"}) as answer:
                    if answer.status in statuses:
                        return dict(await answer.json())
                    assert answer.status == 503, await answer.text()
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(POLL_PAUSE)

    async def open_session(self, number: int) -> dict[str, str]:
        body = {"user_identity": f"user-{number}", "required_services": []}
        return await self.until("POST", "/api/v1/sessions", 201, body=body)

    async def until_managed(self, room_name: str, *, besides: str = "", prefix: str = MANAGER) -> str:
        """The identity of the manager in the room, once there is another than `besides`."""
        while True:
            for identity in await self._active_in(room_name):
                if identity.startswith(prefix) and identity != besides:
                    return identity
            await asyncio.sleep(POLL_PAUSE)

    async def _active_in(self, room_name: str) -> list[str]:
        try:
            listing = await self._livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        except api.TwirpError:
            return []  # there is no such room yet
        return [one.identity for one in listing.participants if one.state == api.ParticipantInfo.ACTIVE]

    async def bare_joins(self, count: int, url: str, folder: Path) -> float:
        """Seconds in which the bare SDK has joined so many rooms, seen in the same way. They are deleted then."""
        async with started(next(one for one in DESIGNS if one.title == LEAN), url, folder) as child:
            await child.ready()
            child.send("first-bare-room")  # it loads what all others share
            await self.until_managed("first-bare-room", prefix=BARE_MANAGER)
            began = time.perf_counter()

            async def join(number: int) -> None:
                child.send(f"bare-{number}")
                await self.until_managed(f"bare-{number}", prefix=BARE_MANAGER)

            await together(range(count), join)
            took = time.perf_counter() - began
            await delete_rooms(url)
            return took

    async def floor(self, room_names: Iterable[str]) -> float:
        began = time.perf_counter()
        await self._livekit.room.list_rooms(api.ListRoomsRequest())

        async def read(room_name: str) -> None:
            await self._livekit.agent_dispatch.list_dispatch(room_name)
            await self._livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))

        await together(room_names, read)
        return time.perf_counter() - began

    async def measure(self, count: int, url: str, folder: Path) -> Recovered:
        joins = await self.bare_joins(count, url, folder)
        await self.start()
        await self.until("GET", "/readyz", 200)
        sessions = await together(range(count), self.open_session)
        names = [session["room_name"] for session in sessions]
        managers = dict(zip(names, await together(names, self.until_managed), strict=True))
        began = time.perf_counter()
        await self.kill()
        floor = await self.floor(names)
        began += floor
        await self.start()
        await self.until("GET", "/livez", 200)
        listening = time.perf_counter() - began

        async def known(session: dict[str, str]) -> None:
            await self.until("GET", f"/api/v1/sessions/{session['session_id']}", 200)

        async def managed(name: str) -> None:
            await self.until_managed(name, besides=managers[name])

        async def timed(awaited: Awaitable[object]) -> float:
            await awaited
            return time.perf_counter() - began

        new, answered, all_managed = await asyncio.gather(
            timed(self.open_session(count)), timed(together(sessions, known)), timed(together(names, managed))
        )
        return Recovered(joins, floor, listening, new, answered, all_managed)


async def together(items: Iterable[T], do: Callable[[T], Awaitable[R]]) -> list[R]:
    """`do` for all items, AT_ONCE at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with slots:
            return await do(item)

    return await asyncio.gather(*map(one, items))


async def measure(count: int, folder: Path) -> Recovered:
    port = free_port()
    webhooks = f"http://127.0.0.1:{port}/livekit/webhook"
    livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=folder / "livekit.log")
    environment = {
        "SERVER_PORT": str(port),
        "LIVEKIT_SERVER_URL": livekit.url,
        "LOG_LEVEL": "error",
        "USER_JOIN_TIMEOUT": "3600",
        "SERVER_HOST": "127.0.0.1",
    }
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(livekit)
        client = await stack.enter_async_context(api.LiveKitAPI(livekit.http_url, KEY, SECRET))
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector))
        bench = RecoveryBench(http, client, environment, folder / "manager.log")
        stack.push_async_callback(bench.kill)
        return await bench.measure(count, livekit.url, folder)


def table(count: int, recovered: Recovered) -> FigureTable:
    since = {
        "LiveKit's answers": recovered.floor,
        "the next process listens": recovered.listening,
        "a new session is created": recovered.new_session,
        "every session is answered": recovered.answered,
        "every room has its manager": recovered.managed,
    }
    all_managed = list(since)[-1]
    killed = [
        Figure(
            work=work, by=SINCE_KILL, unit="s", value=seconds, floor=JOINS if work == all_managed else None,
            goal=SOON if work == all_managed else None,
        )
        for work, seconds in since.items()
    ]  # fmt: skip
    listening = [
        Figure(work=one.work, by=SINCE_LISTENING, unit="s", value=one.value - recovered.listening) for one in killed[2:]
    ]
    joins = Figure(work=all_managed, by=JOINS, unit="s", value=recovered.joins)
    return FigureTable(title=f"{count} rooms after kill -9", figures=[*killed, *listening, joins], layout=Layout.GRID)


def main() -> None:
    command = BenchmarkCommand("recovery", __doc__)
    command.add_size("rooms", ROOMS, QUICK)
    count = command.read().rooms
    with tempfile.TemporaryDirectory() as folder:
        command.finish(table(count, run(measure(count, Path(folder)))))


if __name__ == "__main__":
    main()
