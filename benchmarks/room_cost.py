"""Measure the cost of a manager in a room: livekit-agents' executors, the bare SDK and this project.

    python -m benchmarks.room_cost

Each design runs in its own process, one after another, against one livekit-server. The parent process sends it the
names of the rooms to open, learns from the server's webhooks when each manager has joined, and measures from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from livekit import api
from rich.console import Console
from rich.table import Table

from benchmarks.child import Child, ChildEnded, run, running
from benchmarks.measuring import Rest, at_rest, percentile, times
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
DESIGNS = (
    # Each room is a separate interpreter. More rooms give the same result and take minutes on two cores.
    ConnectionDesign("process", "livekit-agents\nPROCESS", 10),
    # Each room is two threads that compete for the GIL: enough rooms to see the slope, few enough to measure the cost
    # of a room and not of the contention.
    ConnectionDesign("thread", "livekit-agents\nTHREAD", 20),
    ConnectionDesign("bare", "bare rtc.Room,\none loop", 100),
    ConnectionDesign(OURS, "session\nmanager", 100),
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
class Line:
    """One row of the table."""

    title: str
    value: Callable[[Cost], float]
    digits: int = 0
    compared: bool = True
    target: str = ""


LINES = (
    Line("rooms", lambda cost: cost.design.rooms, compared=False),
    Line("MB PSS without rooms", lambda cost: cost.empty.footprint.pss_mb),
    Line("MB PSS per room, peak", lambda cost: cost.peak_mb, 2),
    Line("  including the first rooms", lambda cost: cost.peak_mb_with_first, 2, target="<= 1.8"),
    Line("MB PSS per room, settled", lambda cost: cost.settled_mb, 2),
    Line("processes", lambda cost: cost.full.footprint.processes, compared=False),
    Line("threads", lambda cost: cost.full.footprint.threads, compared=False),
    Line("threads per room", lambda cost: cost.threads_a_room, 1, compared=False, target="0"),
    Line("create -> ACTIVE, p50 ms", lambda cost: percentile(cost.waits_ms, 50)),
    Line("create -> ACTIVE, p99 ms", lambda cost: percentile(cost.waits_ms, 99)),
    Line("CPU per join, ms", lambda cost: cost.join_cpu_ms),
    Line("idle, % of a core per room", lambda cost: cost.idle_percent, 3, target="<= 0.08"),
    Line("jobs that never started", lambda cost: cost.never_started, compared=False, target="0"),
)


def main() -> None:
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="room-cost-") as folder:
        results = run(measure_all(arguments.rooms, arguments.callers, Path(folder)))
    Console(width=120).print(as_table(results, arguments.callers))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.room_cost",
        description="Measure the cost of a managed room, by design. Takes 4 minutes.",
    )
    parser.add_argument(
        "--rooms", type=int, help="rooms of every design; by default 10 to 100, depending on the design"
    )
    parser.add_argument("--callers", type=int, default=1, help="rooms requested at the same time (default 1)")
    arguments = parser.parse_args()
    fewest = min(design.rooms for design in DESIGNS) if arguments.rooms is None else arguments.rooms
    if not 1 <= arguments.callers < fewest:
        parser.error("there must be at least one caller, and fewer callers than rooms")
    return arguments


async def measure_all(rooms: int | None, callers: int, folder: Path) -> list[Result]:
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

    async def of(self, room: str) -> float | None:
        """Wait until the room's manager has joined. Returns the instant; None if it does not join."""
        arrival = self._rooms[room] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(arrival, TIMEOUT)
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


def as_table(results: Sequence[Result], callers: int) -> Table:
    """One row per figure and one column per design, with each figure's ratio to ours."""
    ours = next(cost for design, cost in results if design.name == OURS)
    table = Table(title=f"Cost of a managed room, {callers} requested at a time")
    table.add_column("")
    for design, _ in results:
        table.add_column(design.title, justify="right")
    table.add_column("target", justify="right")
    for line in LINES:
        cells = ["exited" if cost is None else as_cell(line, cost, ours) for _, cost in results]
        table.add_row(line.title, *cells, line.target)
    return table


def as_cell(line: Line, cost: Cost, ours: Cost | None) -> str:
    value = round(line.value(cost), line.digits) + 0.0  # turns -0.0 into 0.0
    figure = f"{value:,.{line.digits}f}"
    if not line.compared or ours is None or cost is ours:
        return figure
    return f"{figure}  {times(value, line.value(ours)):>6}"


if __name__ == "__main__":
    main()
