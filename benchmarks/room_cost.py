"""Measure the cost of a manager in a room: livekit-agents' executors, openrtc, the bare SDK and this project.

    python -m benchmarks.room_cost

Each design runs in its own process, one after another, each with a livekit-server of its own. The parent process sends
it the names of the rooms to open, learns from the server's webhooks when each manager has joined, and measures from
outside.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from benchmarks.arrivals import Arrivals, livekit_server
from benchmarks.child import Child, ChildEnded, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import Rest, at_rest, percentile
from benchmarks.peers import OPENRTC, PeerMissing, installed
from benchmarks.result import Compared, Figure, FigureTable, Goal, Layout, WorkCheck
from scripts.free_ports import free_port

SLICE, QUICK_SLICE = 4.0, 0.2
"""Seconds. Idle use is measured over three slices of this length; half as long until the first rooms are in."""


@dataclass(frozen=True, slots=True)
class ConnectionDesign:
    name: str
    """The name in benchmarks/designs.py."""
    title: str
    rooms: int

    requirement: str | None = None
    """The package of a peer that is no dependency of this project."""


OURS, OPENRTC_POOL = "ours", "openrtc"
PROCESS = "livekit-agents PROCESS"
BARE = "bare rtc.Room, one loop"
LEAN = "bare, log capture off, gathering once"
ANSWERING = "the same, answering RPCs"
OWN_SIZE, QUICK_ROOMS = 0, 2
CALLERS, QUICK_CALLERS = (1,), (1,)
DESIGNS = (
    # Each room is a separate interpreter. More rooms give the same result and take minutes on two cores.
    ConnectionDesign("process", PROCESS, 10),
    # Each room is two threads that compete for the GIL: enough rooms to see the slope, few enough to measure the cost
    # of a room and not of the contention.
    ConnectionDesign("thread", "livekit-agents THREAD", 20),
    ConnectionDesign(OPENRTC_POOL, "openrtc, its coroutine pool", 50, OPENRTC),
    ConnectionDesign("bare", BARE, 100),
    ConnectionDesign("lean", LEAN, 300),
    ConnectionDesign("answering", ANSWERING, 300),
    ConnectionDesign(OURS, "session manager", 300),
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
    floor: str | None = LEAN
    """The title of the design that the others are compared with."""
    goal: Goal | None = None
    """Of this project."""


LINES = (
    CostLine("rooms", lambda cost: cost.design.rooms, None),
    CostLine("MB PSS without rooms", lambda cost: cost.empty.footprint.pss_mb),
    CostLine("MB PSS per room, settled", lambda cost: cost.settled_mb, goal=Goal(of=Compared.RATIO, most=1.05)),
    CostLine("MB PSS per room, settled, at most", lambda cost: cost.settled_mb, None, Goal(most=1.1)),
    CostLine("MB PSS per room, peak", lambda cost: cost.peak_mb, PROCESS, Goal(of=Compared.RATIO, most=1 / 30)),
    CostLine("MB PSS per room, with the first rooms", lambda cost: cost.peak_mb_with_first),
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
    command.add_size("rooms", OWN_SIZE, QUICK_ROOMS, f"rooms of every design; {OWN_SIZE}: 10 to 300, by design")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "rooms requested at the same time, fewer than there are rooms")
    command.add_size("slice", SLICE, QUICK_SLICE, "seconds, of three in which the idle use is measured")
    asked = command.read()
    tables, checks = [], []
    for callers in asked.callers:
        with tempfile.TemporaryDirectory(prefix="room-cost-") as folder:
            results = run(measure_all(asked.rooms, callers, asked.slice, Path(folder)))
        tables.append(table(results, callers))
        exited = [design.title for design, cost in results if cost is None]
        ours = all(cost is not None for design, cost in results if design.name == OURS)
        checks.append(WorkCheck(f"the processes lived, {callers} at a time", ours, exited_text(exited)))
    command.finish(*tables, checks=checks)


def exited_text(titles: Sequence[str]) -> str:
    return f"ended by itself: {', '.join(titles)}" if titles else ""


async def measure_all(rooms: int, callers: int, slice_s: float, folder: Path) -> list[Result]:
    arrivals, results = Arrivals(), []
    console = Console(stderr=True)
    for design in available(DESIGNS):
        chosen = replace(design, rooms=rooms or design.rooms)
        console.print(f"{chosen.name}: {chosen.rooms} rooms ...")
        async with started_with_server(chosen, arrivals, folder) as (child, _):
            try:
                cost = await child.meanwhile(measure(chosen, child, arrivals, callers, slice_s))
            except ChildEnded as error:  # the SDK ends the process when its native code panics
                console.print(error, markup=False)
                cost = None
            results.append((chosen, cost))
    return results


def available(designs: Iterable[ConnectionDesign]) -> Iterator[ConnectionDesign]:
    """Those whose packages are installed, or can be."""
    for design in designs:
        try:
            if design.requirement:
                installed(design.requirement)
            yield design
        except PeerMissing as error:
            Console(stderr=True).print(f"left out: {error}", markup=False)


@asynccontextmanager
async def started_with_server(
    design: ConnectionDesign, arrivals: Arrivals, folder: Path
) -> AsyncIterator[tuple[Child, str]]:
    """The design in a process of its own, and the URL of a livekit-server of its own. The webhooks tell `arrivals`; the
    session manager gets them too, as its deployments do."""
    port = free_port()
    manager_port = port if design.name == OURS else None
    async with (
        livekit_server(folder, arrivals, manager_port) as server,
        started(design, server.url, folder, port) as child,
    ):
        yield child, server.url


def started(
    design: ConnectionDesign, url: str, folder: Path, port: int | None = None
) -> AbstractAsyncContextManager[Child]:
    """The design in a process of its own. `port`: where a session manager listens."""
    environment = {} if port is None else {"SERVER_PORT": str(port)}
    if design.requirement:
        environment["PYTHONPATH"] = str(installed(design.requirement))
    log = folder / f"{design.name}.log"
    return running("benchmarks.designs", design.name, url, log=log, environment=environment)


async def measure(design: ConnectionDesign, child: Child, arrivals: Arrivals, callers: int, slice_s: float) -> Cost:
    gate = asyncio.Semaphore(callers)

    async def join(number: int) -> Join:
        async with gate:
            room, asked_at = f"{design.name}-{number}", time.monotonic()
            child.send(room)
            return Join(asked_at, await arrivals.of(room))

    await child.ready()
    empty = await at_rest(child.pid, slice_s / 2)
    first_joins = await asyncio.gather(*(join(number) for number in range(callers)))
    first = await at_rest(child.pid, slice_s / 2)
    further_joins = await asyncio.gather(*(join(number) for number in range(callers, design.rooms)))
    return Cost(design, empty, first, await at_rest(child.pid, slice_s), first_joins, further_joins)


def table(results: Sequence[Result], callers: int) -> FigureTable:
    """One row per figure and one column per design."""
    figures = [
        Figure(
            work=line.title,
            by=design.title,
            value=round(value, 4) + 0.0,  # turns -0.0 into 0.0
            floor=None if design.title == line.floor else line.floor,
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
