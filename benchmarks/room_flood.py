"""Measure how much later a room is ready while a participant of another room floods the manager.

    python -m benchmarks.room_flood

A participant sends data messages, RPCs and attribute changes to the manager of its room. The floor is the same flood to
a participant that ignores everything, in a room without a manager, which costs the machine and livekit-server the same:
the difference to it is the manager's. The cases take turns, so that what else the machine does affects all alike.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
from livekit import api, rtc
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from benchmarks.child import Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import KEY, SECRET, TIMEOUT, environment, listening, registered
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.watched_rooms import Sessions
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import TOPIC
from manager_agent.session.session import OUR_IDENTITIES
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

OTHER_ROOM, BYSTANDER = "room-without-manager", "bystander"
KINDS = ("data", "rpc", "attributes")
TURN = 5
"""Sessions of one case, before it is the turn of the next: to start and to end a flood takes longer than a session."""
REPEAT = 0.025
"""Seconds between two `ready` signals of a service: the manager may not be in the room yet."""
SETTLE = 0.5
"""Seconds after a flood began."""
QUIET_AGAIN = 2.0
"""Seconds after the end of a flooder in which livekit-server works off what it received."""
LOG_SECONDS, QUICK_LOG_SECONDS = 20.0, 0.5
SESSIONS, QUICK_SESSIONS = 10, 1
RATE, QUICK_RATE = 5_000, 50
LATER_MS = 100
"""What a flood of the manager may add to that of the floor."""
FLOOR = "floor: flood without a manager"

USER_TIMEOUTS = {"USER_JOIN_TIMEOUT": "600", "USER_REJOIN_TIMEOUT": "600"}
"""The user of the flooded session is the flooder, which is gone while the other cases have their turns."""

FlooderStart = Callable[[], AbstractAsyncContextManager[Child]]
"""Starts a flooder in a process of its own, which has joined and is paused. It is killed at the end: what it has not
sent yet would take seconds, and disturb the next case."""

Arrived = dict[str, float]
"""Messages that have arrived so far, by kind. Kinds that can't be counted are missing."""


@dataclass(slots=True)
class FloodCase:
    """What else goes on while sessions are requested, and how long they took."""

    title: str
    start_flooder: FlooderStart | None = None
    arrived: Callable[[], Awaitable[Arrived]] | None = None
    ms: list[float] = field(default_factory=list)
    """From each request for a session until its service was ready."""
    never: int = 0
    seconds: float = 0.0
    """The time during which messages were counted."""
    received: Arrived = field(default_factory=dict)
    """The messages that arrived in it."""
    sent: int = 0
    """Messages of each kind that the flooders handed to the SDK, which sends fewer."""
    flooded_seconds: float = 0.0
    log_lines: float | None = None
    """A minute."""

    async def take_turn(self, watch: Sessions, count: int) -> None:
        """Request so many sessions, one after another, during a flood."""
        async with self.flood():
            before, begun = await self._counts(), time.monotonic()
            for _ in range(count):
                took = await ready_after_ms(watch)
                if took is None:
                    self.never += 1
                else:
                    self.ms.append(took)
            self.seconds += time.monotonic() - begun
            for kind, total in (await self._counts()).items():
                self.received[kind] = self.received.get(kind, 0.0) + total - before[kind]

    @asynccontextmanager
    async def flood(self) -> AsyncIterator[None]:
        """The flood, from when it has settled until it is over."""
        if self.start_flooder is None:
            yield
            return
        async with self.start_flooder() as flooder:
            flooder.send("go")
            begun = time.monotonic()
            await asyncio.sleep(SETTLE)
            yield
            flooder.send("pause")
            self.sent += int(await flooder.receive())
            self.flooded_seconds += time.monotonic() - begun
        await asyncio.sleep(QUIET_AGAIN)

    async def _counts(self) -> Arrived:
        return await self.arrived() if self.arrived else {}


def main() -> None:
    command = BenchmarkCommand("room_flood", __doc__)
    command.add_size("sessions", SESSIONS, QUICK_SESSIONS, "sessions per case")
    command.add_size("rate", RATE, QUICK_RATE, "messages of each kind a second")
    command.add_size("log_seconds", LOG_SECONDS, QUICK_LOG_SECONDS, "how long log lines are counted without sessions")
    asked = command.read()
    disable_log_capture()
    with tempfile.TemporaryDirectory(prefix="room-flood-") as folder:
        cases = run(measure_all(asked.sessions, asked.rate, asked.log_seconds, Path(folder)))
    never = {case.title: case.never for case in cases if case.never}
    check = WorkCheck("every session became ready", not never, str(never or ""))
    command.finish(ready_table(cases), other_table(cases), checks=[check])


async def measure_all(count: int, rate: int, log_seconds: float, folder: Path) -> list[FloodCase]:
    binary, port = await asyncio.to_thread(find_or_build), free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "api.log"
    webhook_url, server_log = f"{url}/livekit/webhook", folder / "livekit-server.log"
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=server_log) as server,
        running("http_api", "--dev", log=log, environment=environment(server.url, port) | USER_TIMEOUTS),
        aiohttp.ClientSession(url) as http,
        api.LiveKitAPI(server.url, KEY, SECRET) as livekit,
    ):
        watch = Sessions(http)
        async with listening(watch.receive) as endpoint:
            await registered(http, endpoint, ready_on="signal")
            await livekit.room.create_room(api.CreateRoomRequest(name=OTHER_ROOM))
            room, manager = await managed_room(http, livekit)
            floor = partial(started_flooder, server.url, OTHER_ROOM, BYSTANDER, rate, folder)
            flood = partial(started_flooder, server.url, room, manager, rate, folder)
            async with bystander(server.url, folder) as other:
                cases = [
                    FloodCase("quiet"),
                    FloodCase(FLOOR, floor, lambda: arrived_at_bystander(other)),
                    FloodCase("flood of a manager", flood, lambda: arrived_at_manager(http)),
                ]
                await take_turns(cases, watch, count)
                async with cases[-1].flood():
                    cases[-1].log_lines = await lines_a_minute(log, log_seconds)
                return cases


async def take_turns(cases: Sequence[FloodCase], watch: Sessions, count: int) -> None:
    for done in range(0, count, TURN):
        Console(stderr=True).print(f"{done} of {count} sessions of each case ...")
        for case in cases:
            await case.take_turn(watch, min(TURN, count - done))


async def ready_after_ms(watch: Sessions) -> float | None:
    """From the request for a session until its service is ready; None when it never was."""
    room, requested_at = rtc.Room(), time.time()
    async with asyncio.timeout(TIMEOUT):
        seat = await watch.open()
    await room.connect(seat.url, seat.token, rtc.RoomOptions(auto_subscribe=False))
    saying = asyncio.create_task(say_ready(room))
    try:
        async with asyncio.timeout(TIMEOUT):
            return 1_000 * (await watch.known_at(seat, "ready") - requested_at)
    except TimeoutError:
        return None
    finally:
        saying.cancel()
        await room.disconnect()
        await watch.close(seat)


async def say_ready(room: rtc.Room) -> None:
    while True:
        await room.local_participant.publish_data(b'{"type": "ready"}', topic=TOPIC)
        await asyncio.sleep(REPEAT)


async def arrived_at_manager(http: aiohttp.ClientSession) -> Arrived:
    """From the manager's metrics: messages that it took or dropped."""
    async with http.get("/metrics", raise_for_status=True) as answer:
        families = text_string_to_metric_families(await answer.text())
    arrived = dict.fromkeys(KINDS, 0.0)
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == "session_manager_room_messages_total":
            arrived[sample.labels["kind"]] += sample.value
    return arrived


async def arrived_at_bystander(bystander: Child) -> Arrived:
    bystander.send("count")
    data, attributes = (await bystander.receive()).split(" ")
    return {"data": float(data), "attributes": float(attributes)}


async def lines_a_minute(log: Path, seconds: float) -> float:
    """The lines that are added to the log, counted for so long."""
    before = await asyncio.to_thread(log.read_bytes)
    await asyncio.sleep(seconds)
    after = await asyncio.to_thread(log.read_bytes)
    return (after.count(b"\n") - before.count(b"\n")) * 60 / seconds


async def managed_room(http: aiohttp.ClientSession, livekit: api.LiveKitAPI) -> tuple[str, str]:
    """The room of a session without services, and the identity of the manager in it."""
    body = {"user_identity": "flooder", "required_services": []}
    async with http.post("/api/v1/sessions", json=body, raise_for_status=True) as answer:
        room = (await answer.json())["room_name"]
    async with asyncio.timeout(TIMEOUT):
        while True:
            listed = await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
            for one in listed.participants:
                if one.identity.startswith(f"{OUR_IDENTITIES}manager-"):
                    return room, one.identity
            await asyncio.sleep(REPEAT)


@asynccontextmanager
async def bystander(url: str, folder: Path) -> AsyncIterator[Child]:
    """In its own process, as the manager is."""
    arguments = url, token(OTHER_ROOM, BYSTANDER)
    async with running("benchmarks.room_bystander", *arguments, log=folder / "bystander.log") as child:
        await child.ready()
        yield child


@asynccontextmanager
async def started_flooder(url: str, room: str, target: str, rate: int, folder: Path) -> AsyncIterator[Child]:
    """A flooder of one participant of a room, as FlooderStart starts it."""
    arguments = url, token(room, "flooder"), target, str(rate)
    async with running("benchmarks.room_flooder", *arguments, log=folder / f"flooder-of-{target}.log") as child:
        await child.ready()
        yield child


def token(room: str, identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


def ready_table(cases: Sequence[FloodCase]) -> FigureTable:
    goal = Goal(of=Compared.P99_MORE, most=LATER_MS)
    figures = [
        Figure.of("ready", case.title, case.ms, "ms", floor=FLOOR, goal=goal if case is cases[-1] else None)
        for case in cases
        if case.ms
    ]
    return FigureTable(title="From the request for a session until its service is ready", figures=figures)


def other_table(cases: Sequence[FloodCase]) -> FigureTable:
    figures = []
    for case in cases:
        if case.start_flooder:
            sent = case.sent / case.flooded_seconds
            figures.append(Figure(work="handed to the SDK", by=case.title, unit="a second", value=sent))
        for kind, number in case.received.items():
            arrived = number / case.seconds
            figures.append(Figure(work=f"arrived: {kind}", by=case.title, unit="a second", value=arrived))
        if case.log_lines is not None:
            figures.append(Figure(work="log lines", by=case.title, unit="a minute", value=case.log_lines))
    return FigureTable(title="Messages of each kind, in the other room", figures=figures)


if __name__ == "__main__":
    main()
