"""Measure the cost of a manager in a room: livekit-agents' executors, the bare SDK and this project.

    python -m benchmarks.room_cost

Each design runs in its own process, one after another, against one livekit-server. The parent process sends it the
names of the rooms to open, learns from the server's webhooks when each manager has joined, and measures from outside.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from livekit import api
from rich.console import Console

from benchmarks.child import Child, ChildEnded, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import Rest, at_rest, percentile
from benchmarks.result import Compared, Figure, FigureTable, Goal, Layout, WorkCheck
from scripts.livekit_server import LiveKitServer, find_or_build, free_port

KEY, SECRET = "devkey", "secret"
SLICE_BEFORE, SLICE_AFTER = 2.0, 4.0
"""Seconds. Idle use is measured over three slices of the latter length."""
TIMEOUT = 15.0
"""Seconds. A manager that has not joined by then counts as lost. The slowest to join took about three."""


@dataclass(frozen=True, slots=True)
class ConnectionDesign:
    name: str
    """The name in benchmarks/designs.py."""
    title: str
    rooms: int


OURS = "ours"
BARE = "bare rtc.Room, one loop"
OWN_SIZE, QUICK_ROOMS = 0, 2
CALLERS, QUICK_CALLERS = (1, 8), (1,)
DESIGNS = (
    # Each room is a separate interpreter. More rooms give the same result and take minutes on two cores.
    ConnectionDesign("process", "livekit-agents PROCESS", 10),
    # Each room is two threads that compete for the GIL: enough rooms to see the slope, few enough to measure the cost
    # of a room and not of the contention.
    ConnectionDesign("thread", "livekit-agents THREAD", 20),
    ConnectionDesign("bare", BARE, 100),
    ConnectionDesign(OURS, "session manager", 100),
)


@dataclass(frozen=True, slots=True)
class Join:
    """A manager's join; instants of the monotonic clock."""

    asked_at: float
    active_at: float | None
    """None if it never joined."""

    @property
    def wait_ms(self) -> float | None:
        return None if self.active_at is None else 1_000 * (self.active_at - self.asked_at)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a design's rooms. Per-room figures exclude the first rooms, which load what all rooms share."""

    design: ConnectionDesign
    empty: Rest
    first: Rest
    full: Rest
    first_joins: Sequence[Join]
    """The joins of the first rooms, as many as are requested at a time."""
    further_joins: Sequence[Join]

    @property
    def joins(self) -> Sequence[Join]:
        return [*self.first_joins, *self.further_joins]

    @property
    def waits_ms(self) -> list[float]:
        return [wait for join in self.joins if (wait := join.wait_ms) is not None]

    @property
    def never_started(self) -> int:
        return len(self.joins) - len(self.waits_ms)

    @property
    def further_rooms(self) -> int:
        return sum(join.active_at is not None for join in self.further_joins)

    @property
    def peak_mb(self) -> float:
        return (self.full.peak_pss_mb - self.first.footprint.pss_mb) / self.further_rooms

    @property
    def settled_mb(self) -> float:
        return (self.full.footprint.pss_mb - self.first.footprint.pss_mb) / self.further_rooms

    @property
    def peak_mb_with_first(self) -> float:
        return (self.full.peak_pss_mb - self.empty.footprint.pss_mb) / len(self.waits_ms)

    @property
    def threads_a_room(self) -> float:
        return (self.full.footprint.threads - self.first.footprint.threads) / self.further_rooms

    @property
    def idle_percent(self) -> float:
        return 100 * (self.full.cores - self.empty.cores) / len(self.waits_ms)

    @property
    def join_cpu_ms(self) -> float:
        """CPU milliseconds per join, including the work that follows it, without the idle use of open rooms."""
        start, end = self.first.footprint, self.full.footprint
        idle = self.empty.cores * (end.at - start.at)
        active = (max(join.active_at, start.at) for join in self.joins if join.active_at is not None)
        idle += self.idle_percent / 100 * sum(end.at - at for at in active)
        return 1_000 * (end.cpu_s - start.cpu_s - idle) / self.further_rooms


Result = tuple[ConnectionDesign, Cost | None]
"""None: the design's process exited."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One row of the table."""

    title: str
    value: Callable[[Cost], float]
    floor: str | None = BARE
    """The title of the design that the others are compared with."""
    goal: Goal | None = None
    """Of this project."""


LINES = (
    CostLine("rooms", lambda cost: cost.design.rooms, None),
    CostLine("MB PSS without rooms", lambda cost: cost.empty.footprint.pss_mb),
    CostLine("MB PSS per room, peak", lambda cost: cost.peak_mb),
    CostLine("MB PSS per room, with the first rooms", lambda cost: cost.peak_mb_with_first),
    CostLine("MB PSS per room, settled", lambda cost: cost.settled_mb, goal=Goal(most=1.1)),
    CostLine("processes", lambda cost: cost.full.footprint.processes, None),
    CostLine("threads", lambda cost: cost.full.footprint.threads, None),
    CostLine("threads per room", lambda cost: cost.threads_a_room, None, Goal(most=0.05)),
    CostLine("create -> ACTIVE, p50 ms", lambda cost: percentile(cost.waits_ms, 50)),
    CostLine("create -> ACTIVE, p99 ms", lambda cost: percentile(cost.waits_ms, 99)),
    CostLine("CPU per join, ms", lambda cost: cost.join_cpu_ms),
    CostLine("idle, % of a core per room", lambda cost: cost.idle_percent, goal=Goal(of=Compared.RATIO, most=1.15)),
    CostLine("jobs that never started", lambda cost: cost.never_started, None, Goal(most=0)),
)


def main() -> None:
    command = BenchmarkCommand("room_cost", __doc__)
    command.add_size("rooms", OWN_SIZE, QUICK_ROOMS, f"rooms of every design; {OWN_SIZE}: 10 to 100, by design")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "rooms requested at the same time, fewer than there are rooms")
    asked = command.read()
    tables, checks = [], []
    for callers in asked.callers:
        with tempfile.TemporaryDirectory(prefix="room-cost-") as folder:
            results = run(measure_all(asked.rooms, callers, Path(folder)))
        tables.append(table(results, callers))
        exited = [design.title for design, cost in results if cost is None]
        ours = all(cost is not None for design, cost in results if design.name == OURS)
        checks.append(WorkCheck(f"the processes lived, {callers} at a time", ours, exited_text(exited)))
    command.finish(*tables, checks=checks)


def exited_text(titles: Sequence[str]) -> str:
    return f"ended by itself: {', '.join(titles)}" if titles else ""


async def measure_all(rooms: int, callers: int, folder: Path) -> list[Result]:
    arrivals, results = Arrivals(), []
    console = Console(stderr=True)
    async with livekit_server(folder, arrivals) as server:
        for design in DESIGNS:
            chosen = ConnectionDesign(design.name, design.title, rooms or design.rooms)
            console.print(f"{chosen.name}: {chosen.rooms} rooms ...")
            log = folder / f"{chosen.name}.log"
            async with running("benchmarks.designs", chosen.name, server.url, log=log) as child:
                try:
                    cost = await child.meanwhile(measure(chosen, child, arrivals, callers))
                except ChildEnded as error:  # the SDK ends the process when its native code panics
                    console.print(error, markup=False)
                    cost = None
                results.append((chosen, cost))
                await delete_rooms(server.url)  # otherwise the server keeps them for a while
    return results


async def measure(design: ConnectionDesign, child: Child, arrivals: Arrivals, callers: int) -> Cost:
    gate = asyncio.Semaphore(callers)

    async def join(number: int) -> Join:
        async with gate:
            room, asked_at = f"{design.name}-{number}", time.monotonic()
            child.send(room)
            return Join(asked_at, await arrivals.of(room))

    await child.ready()
    empty = await at_rest(child.pid, SLICE_BEFORE)
    first_joins = await asyncio.gather(*(join(number) for number in range(callers)))
    first = await at_rest(child.pid, SLICE_BEFORE)
    further_joins = await asyncio.gather(*(join(number) for number in range(callers, design.rooms)))
    return Cost(design, empty, first, await at_rest(child.pid, SLICE_AFTER), first_joins, further_joins)


class Arrivals:
    """When a manager joined each room, according to the server's webhooks."""

    def __init__(self) -> None:
        self._rooms: dict[str, asyncio.Future[float]] = {}

    async def of(self, room: str, patience: float = TIMEOUT) -> float | None:
        """Wait until the room's manager has joined. Returns the instant; None if it has not joined after so long."""
        arrival = self._rooms[room] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(arrival, patience)
        except TimeoutError:
            return None

    async def receive(self, request: web.Request) -> web.Response:
        at, webhook = time.monotonic(), json.loads(await request.read())
        if webhook["event"] == "participant_joined":
            arrival = self._rooms[webhook["room"]["name"]]
            if not arrival.done():
                arrival.set_result(at)
        return web.Response()


@asynccontextmanager
async def livekit_server(folder: Path, arrivals: Arrivals) -> AsyncIterator[LiveKitServer]:
    """Run a server that sends its webhooks to `arrivals`."""
    app, port = web.Application(), free_port()
    app.router.add_post("/", arrivals.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        binary, log = await asyncio.to_thread(find_or_build), folder / "livekit-server.log"
        webhook_url = f"http://127.0.0.1:{port}/"
        async with LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=log) as server:
            yield server
    finally:
        await runner.cleanup()


async def delete_rooms(url: str) -> None:
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit:
        for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=room.name))


def table(results: Sequence[Result], callers: int) -> FigureTable:
    """One row per figure and one column per design, each compared with the bare one."""
    figures = [
        Figure(
            work=line.title,
            by=design.title,
            value=round(value, 4) + 0.0,  # turns -0.0 into 0.0
            floor=None if design.title == BARE else line.floor,
            goal=line.goal if design.name == OURS else None,
        )
        for line in LINES
        for design, cost in results
        if cost is not None and not math.isnan(value := measured(line, cost))
    ]
    title = f"Cost of a managed room, {callers} requested at a time"
    return FigureTable(title=title, figures=figures, layout=Layout.GRID)


def measured(line: CostLine, cost: Cost) -> float:
    """NaN if no further room was opened."""
    try:
        return line.value(cost)
    except ZeroDivisionError:
        return math.nan


if __name__ == "__main__":
    main()
