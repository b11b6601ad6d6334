"""Measure how much later a room is ready while a participant of another room floods the manager.

    python -m benchmarks.room_flood

A participant sends data messages, RPCs and attribute changes to the manager of its room. The floor is the same flood to
an ordinary participant of a room without a manager, which costs the machine and livekit-server the same: the difference
to it is the manager's.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from livekit import api, rtc
from rich.console import Console
from rich.table import Table

from benchmarks.child import run, running
from benchmarks.join_latency import KEY, SECRET, TIMEOUT, Sessions, environment, listening, registered
from benchmarks.measuring import percentile, times
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.messages import TOPIC
from manager_agent.session.session import OUR_IDENTITIES
from scripts.livekit_server import LiveKitServer, find_or_build, free_port

OTHER_ROOM, BYSTANDER = "room-without-manager", "bystander"
REPEAT = 0.025
"""Seconds between two `ready` signals of a service: the manager may not be in the room yet."""
LOG_SECONDS = 60.0
"""How long log lines are counted, while no session is requested."""
SETTLE = 5.0
"""Seconds before that, in which the last session is cleaned up."""


@dataclass(slots=True)
class Flood:
    sent: int = 0
    """Messages of each kind so far."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """How long sessions took from their request until their service was ready."""

    title: str
    ms: Sequence[float]
    never: int
    sent_per_second: float = 0.0
    log_lines: int | None = None
    """In LOG_SECONDS."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room_flood", description="Takes three minutes.")
    parser.add_argument("--sessions", type=int, default=30, help="sessions per row (default 30)")
    parser.add_argument("--rate", type=int, default=5_000, help="messages of each kind a second (default 5,000)")
    arguments = parser.parse_args()
    disable_log_capture()
    with tempfile.TemporaryDirectory(prefix="room-flood-") as folder:
        results = run(measure_all(arguments.sessions, arguments.rate, Path(folder)))
    Console(width=120).print(as_table(results, arguments.sessions))


async def measure_all(count: int, rate: int, folder: Path) -> list[Readiness]:
    binary, port = await asyncio.to_thread(find_or_build), free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "api.log"
    webhook_url, server_log = f"{url}/livekit/webhook", folder / "livekit-server.log"
    async with (
        LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=server_log) as server,
        running("http_api", "--dev", log=log, environment=environment(server.url, port)),
        aiohttp.ClientSession(url) as http,
        api.LiveKitAPI(server.url, KEY, SECRET) as livekit,
    ):
        watch = Sessions(http)
        async with listening(watch) as endpoint:
            await registered(http, endpoint, ready_on="signal")
            results = [await measure("quiet", watch, count, Flood())]
            await livekit.room.create_room(api.CreateRoomRequest(name=OTHER_ROOM))
            async with (
                bystander(server.url, folder),
                flooding(server.url, OTHER_ROOM, BYSTANDER, rate, folder) as flood,
            ):
                results.append(await measure("flood without a manager", watch, count, flood))
            room, manager = await managed_room(http, livekit)
            async with flooding(server.url, room, manager, rate, folder) as flood:
                results.append(await measure("flood of a manager", watch, count, flood, log))
            return results


async def measure(title: str, watch: Sessions, count: int, flood: Flood, log: Path | None = None) -> Readiness:
    """Request sessions one after another; then count the lines of the log, if there is one."""
    Console(stderr=True).print(f"{title}: {count} sessions ...")
    before, begun = flood.sent, time.monotonic()
    took = [await ready_after_ms(watch) for _ in range(count)]
    rate = (flood.sent - before) / (time.monotonic() - begun)
    lines = await lines_added(log) if log else None
    known = [ms for ms in took if ms is not None]
    return Readiness(title, known, count - len(known), rate, lines)


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


async def lines_added(log: Path) -> int:
    """The lines that are added to the log in LOG_SECONDS, after SETTLE."""
    await asyncio.sleep(SETTLE)
    before = await asyncio.to_thread(log.read_bytes)
    await asyncio.sleep(LOG_SECONDS)
    after = await asyncio.to_thread(log.read_bytes)
    return after.count(b"\n") - before.count(b"\n")


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
async def bystander(url: str, folder: Path) -> AsyncIterator[None]:
    """An ordinary participant of OTHER_ROOM, in its own process, as the manager is."""
    async with running("benchmarks.room_event", url, log=folder / "bystander.log") as child:
        await child.ready()
        child.send(f"{OTHER_ROOM} {token(OTHER_ROOM, BYSTANDER)}")
        await child.receive()
        yield


@asynccontextmanager
async def flooding(url: str, room: str, target: str, rate: int, folder: Path) -> AsyncIterator[Flood]:
    """Flood the target from a process of its own."""
    arguments, flood = (url, token(room, "flooder"), target, str(rate)), Flood()
    async with running("benchmarks.room_flooder", *arguments, log=folder / "flooder.log") as child:
        await child.ready()
        await child.receive()  # a second later, the flood is running

        async def count() -> None:
            while True:
                flood.sent = int((await child.receive()).removeprefix("sent "))

        counting = asyncio.create_task(count())
        yield flood
        counting.cancel()


def token(room: str, identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


def as_table(results: Sequence[Readiness], count: int) -> Table:
    """One row per case; the flood of a manager is compared with the same flood without one."""
    floor = results[1]
    table = Table(title=f"From the request for a session until its service is ready, {count} sessions each, ms")
    table.add_column("other room")
    for heading in ("sent/s of each kind", "p50", "p99", "later, p50", "later, p99", "never", "log lines/min"):
        table.add_column(heading, justify="right")
    for result in results:
        pairs = [(percentile(result.ms, percent), percentile(floor.ms, percent)) for percent in (50, 99)]
        is_compared = result is results[-1]
        later = [f"{ms - least:+,.0f}  {times(ms, least)}" if is_compared else "" for ms, least in pairs]
        lines = "" if result.log_lines is None else f"{result.log_lines * 60 / LOG_SECONDS:.0f}"
        figures = (f"{result.sent_per_second:,.0f}", *(f"{ms:,.0f}" for ms, _ in pairs), *later)
        table.add_row(result.title, *figures, str(result.never), lines)
    return table


if __name__ == "__main__":
    main()
