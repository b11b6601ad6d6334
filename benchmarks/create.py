"""Measure what it costs to be given a session at once, against a bare CreateRoom.

    python -m benchmarks.create

`POST /api/v1/sessions` with `Prefer: respond-async` answers once the room is made, and waits for no service. The floor
is CreateRoom by livekit-api with as many bytes of metadata, by the same caller. Turns of both alternate: the rooms of
one are deleted before the other begins, with the managers that were about to join.

A caller that asks again at once asks while the managers of its earlier sessions join: a join takes some ten times the
CPU of such an answer. *In peace*, it asks again once the manager is in the room.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

import aiohttp
from livekit import api

from benchmarks.child import run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import KEY, SECRET, environment
from benchmarks.process_start import ready
from benchmarks.recorded_answer import METADATA_BYTES
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

TURNS, QUICK_TURNS = 12, 1
CALLERS, QUICK_CALLERS = (1, 32), (1, 2)
PEACEFUL_TURNS, QUICK_PEACEFUL_TURNS = 4, 1
"""Each room takes a fraction of a second more."""
ROOMS, QUICK_ROOMS = 32, 2
"""Of a turn, whether one or many callers make them."""
LOOK_PAUSE, SETTLE = 0.02, 0.1
"""Seconds between looks for the manager, and from its join until what follows it is done."""
BARE, OURS = "CreateRoom by livekit-api", "POST /sessions, respond-async"
AT_EASE = Goal(of=Compared.MORE, most=2)
AT_ONCE = Goal(of=Compared.P99_MORE, most=10)


@dataclass(frozen=True, slots=True)
class CallerPace:
    callers: int
    in_peace: bool = False

    def __str__(self) -> str:
        return f"{self.callers} at a time" + (", in peace" if self.in_peace else "")


class RoomMaker(Protocol):
    async def make(self) -> str:
        """Make a room. Returns its name."""

    async def in_peace(self, name: str) -> None:
        """Return once nothing more is done for this room."""

    async def delete(self, name: str) -> None: ...


class BareRooms:
    def __init__(self, livekit: api.LiveKitAPI) -> None:
        self._livekit, self._numbers = livekit, count()

    async def make(self) -> str:
        request = api.CreateRoomRequest(name=f"bare-{next(self._numbers)}", metadata="." * METADATA_BYTES)
        return (await self._livekit.room.create_room(request)).name

    async def in_peace(self, name: str) -> None:
        """It is so with the answer."""

    async def delete(self, name: str) -> None:
        await self._livekit.room.delete_room(api.DeleteRoomRequest(room=name))


class SessionRooms:
    def __init__(self, http: aiohttp.ClientSession, livekit: api.LiveKitAPI) -> None:
        self._http, self._livekit = http, livekit
        self._sessions: dict[str, str] = {}
        """The id of each session, by the name of its room."""

    async def make(self) -> str:
        body, headers = {"user_identity": "alice", "required_services": []}, {"Prefer": "respond-async"}
        async with self._http.post("/api/v1/sessions", json=body, headers=headers, raise_for_status=True) as answer:
            session = await answer.json()
        name: str = session["room_name"]
        self._sessions[name] = session["session_id"]
        return name

    async def in_peace(self, name: str) -> None:
        asked = api.ListParticipantsRequest(room=name)
        while not (await self._livekit.room.list_participants(asked)).participants:
            await asyncio.sleep(LOOK_PAUSE)
        await asyncio.sleep(SETTLE)

    async def delete(self, name: str) -> None:
        async with self._http.delete(f"/api/v1/sessions/{self._sessions.pop(name)}", raise_for_status=True):
            pass


@dataclass(slots=True)
class CreateCase:
    name: str
    maker: RoomMaker
    seconds: list[float] = field(default_factory=list)
    asked: int = 0
    found: int = 0
    """Of these rooms, those that LiveKit lists before they are deleted."""

    async def turn(self, rooms: int, pace: CallerPace, listed: Callable[[], Awaitable[set[str]]]) -> None:
        numbers, made = iter(range(rooms)), list[str]()

        async def call() -> None:
            for _ in numbers:
                began = time.perf_counter()
                made.append(await self.maker.make())
                self.seconds.append(time.perf_counter() - began)
                if pace.in_peace:
                    await self.maker.in_peace(made[-1])

        await asyncio.gather(*(call() for _ in range(pace.callers)))
        self.asked, self.found = self.asked + rooms, self.found + len(await listed() & set(made))
        await asyncio.gather(*map(self.maker.delete, made))


async def measure(turns: int, rooms: int, pace: CallerPace, folder: Path) -> Sequence[CreateCase]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    webhooks, log = f"{url}/livekit/webhook", folder / "livekit.log"
    async with (
        LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=log) as server,
        running("http_api", "--dev", log=folder / "api.log", environment=environment(server.url, port)) as child,
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as bare_http,
        api.LiveKitAPI(server.http_url, KEY, SECRET, session=bare_http) as livekit,
    ):
        await child.meanwhile(ready(f"{url}/readyz"))

        async def listed() -> set[str]:
            return {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}

        cases = CreateCase(BARE, BareRooms(livekit)), CreateCase(OURS, SessionRooms(http, livekit))
        for turn in range(turns + 1):
            for case in cases:
                await case.turn(rooms, pace, listed)
                if not turn:
                    case.seconds.clear()  # connections were opened
        return cases


def table(cases: Sequence[CreateCase], pace: CallerPace) -> FigureTable:
    goal = AT_EASE if pace.callers == 1 else AT_ONCE
    figures = [
        Figure.of(
            "a room", case.name, [1e3 * one for one in case.seconds], "ms", floor=BARE,
            goal=goal if case.name == OURS else None,
        )
        for case in cases
    ]  # fmt: skip
    return FigureTable(title=f"Until the answer, {pace}", figures=figures)


def check(cases: Sequence[CreateCase], pace: CallerPace) -> WorkCheck:
    found = ", ".join(f"{case.name}: {case.found} of {case.asked}" for case in cases)
    return WorkCheck(f"each has its room, {pace}", all(one.found == one.asked for one in cases), found)


def main() -> None:
    command = BenchmarkCommand("create", __doc__)
    command.add_size("turns", TURNS, QUICK_TURNS, "turns of each")
    command.add_size("peaceful_turns", PEACEFUL_TURNS, QUICK_PEACEFUL_TURNS, "turns of one caller in peace")
    command.add_size("rooms", ROOMS, QUICK_ROOMS, "rooms made in a turn")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "requests at a time")
    asked = command.read()
    tables, checks = [], []
    for pace in (CallerPace(1, in_peace=True), *map(CallerPace, asked.callers)):
        turns = asked.peaceful_turns if pace.in_peace else asked.turns
        with tempfile.TemporaryDirectory() as folder:
            cases = run(measure(turns, asked.rooms, pace, Path(folder)))
        tables.append(table(cases, pace))
        checks.append(check(cases, pace))
    command.finish(*tables, checks=checks)


if __name__ == "__main__":
    main()
