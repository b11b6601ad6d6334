"""Measure whether a managed room costs more when there are many: `python -m benchmarks.room_growth`.

One session manager gets rooms up to each size, a few at a time, and one process with bare rooms before it. What a
managed room costs is compared with a bare room among as many: that ratio must not grow. The first room, which loads
what all share, is left out.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.arrivals import Arrivals
from benchmarks.child import Child, run
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import Footprint, footprint
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.room_cost import DESIGNS, OURS, ConnectionDesign, started_with_server

BARE = "lean"
"""The design of room_cost.py whose rooms are the floor: the bare SDK at its best."""
SIZES, QUICK_SIZES = (10, 100, 300), (1, 2)
CALLERS, QUICK_CALLERS = 4, 1
SETTLE, QUICK_SETTLE = 3.0, 0.1
"""Seconds after the last join of a step: some work follows it."""
IDLE, QUICK_IDLE = 10.0, 0.5
"""Seconds during which nothing is done."""
FLAT = Goal(of=Compared.RATIO, most=1.2)


@dataclass(frozen=True, slots=True)
class GrowthStep:
    """The rooms between one size and the next."""

    size: int
    waits_ms: Sequence[float]
    cpu_ms: float
    """Of a join."""
    mb: float
    """Of a room."""
    idle_percent: float
    """Of a core, for each room that there is."""


class GrowingRooms:
    def __init__(self, child: Child, arrivals: Arrivals, callers: int) -> None:
        self._child, self._arrivals, self._slots = child, arrivals, asyncio.Semaphore(callers)
        self._count = 0
        self.lost = 0

    async def open(self, count: int) -> list[float]:
        """So many more rooms. Returns the milliseconds until each had its manager."""
        numbers = range(self._count, self._count + count)
        self._count += count
        waits = await asyncio.gather(*(self._open(f"growth-{number}") for number in numbers))
        found = [one for one in waits if one is not None]
        self.lost += count - len(found)
        return found

    async def step(self, size: int, settle: float, idle: float, at_rest: float) -> GrowthStep:
        """`at_rest`: the CPU, in cores, of the process without rooms."""
        before, new = self.footprint(), size - (self._count - 1)
        waits = await self.open(new)
        await asyncio.sleep(settle)
        joined = self.footprint()
        await asyncio.sleep(idle)
        cores = self.footprint().cores_since(joined) - at_rest
        return GrowthStep(
            size,
            waits,
            1_000 * (joined.cpu_s - before.cpu_s) / new,
            (joined.pss_mb - before.pss_mb) / new,
            100 * cores / size,
        )

    def footprint(self) -> Footprint:
        return footprint(self._child.pid)

    async def _open(self, name: str) -> float | None:
        async with self._slots:
            asked_at = time.monotonic()
            self._child.send(name)
            active_at = await self._arrivals.of(name)
            return None if active_at is None else 1_000 * (active_at - asked_at)


async def measure(
    design: ConnectionDesign, sizes: Sequence[int], callers: int, settle: float, idle: float, folder: Path
) -> tuple[list[GrowthStep], int]:
    """The steps of this design, and how many rooms got no manager."""
    arrivals = Arrivals()
    async with started_with_server(design, arrivals, folder) as (child, _):
        await child.ready()
        before = footprint(child.pid)
        await asyncio.sleep(idle)
        at_rest = footprint(child.pid).cores_since(before)
        rooms = GrowingRooms(child, arrivals, callers)
        await rooms.open(1)
        await asyncio.sleep(settle)
        steps = [await rooms.step(size, settle, idle, at_rest) for size in sizes]
        return steps, rooms.lost


COSTS: dict[str, tuple[str, Callable[[GrowthStep], Sequence[float]]]] = {
    "until the manager is in the room": ("ms", lambda one: one.waits_ms),
    "CPU of a join": ("ms", lambda one: [one.cpu_ms]),
    "memory of a room, PSS": ("MB", lambda one: [one.mb]),
    "CPU of an idle room, % of a core": ("", lambda one: [one.idle_percent]),
}


def cost_table(title: str, steps: Sequence[GrowthStep]) -> FigureTable:
    """What the rooms of one design cost, by their number."""
    first = _rooms(steps[0])
    figures = [
        Figure.of(work, by, values, unit, floor=None if by == first else first)
        for work, (unit, values_of) in COSTS.items()
        for one in steps
        if (values := values_of(one))
        for by in [_rooms(one)]
    ]
    return FigureTable(title=title, figures=figures)


def growth_table(bare: Sequence[GrowthStep], managed: Sequence[GrowthStep]) -> FigureTable:
    """How the cost of a managed room, as a ratio to that of a bare one among as many, grows with their number."""
    first = _rooms(managed[0])
    figures = [
        Figure(
            work=f"{work}, x bare", by=by, value=median(ours) / median(floor),
            floor=None if by == first else first, goal=None if by == first else FLAT,
        )
        for work, (_, values_of) in COSTS.items()
        for one, other in zip(managed, bare, strict=True)
        if (ours := values_of(one)) and (floor := values_of(other)) and median(floor) > 0
        for by in [_rooms(one)]
    ]  # fmt: skip
    return FigureTable(title="A managed room as a ratio to a bare one, by how many there are", figures=figures)


def _rooms(step: GrowthStep) -> str:
    return f"{step.size:,} rooms"


def main() -> None:
    command = BenchmarkCommand("room_growth", __doc__)
    command.add_size("sizes", SIZES, QUICK_SIZES, "numbers of rooms")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "rooms requested at a time")
    command.add_size("settle", SETTLE, QUICK_SETTLE, "seconds after the last join of a step")
    command.add_size("idle", IDLE, QUICK_IDLE, "seconds in which the idle use is measured")
    asked = command.read()
    by_name = {one.name: one for one in DESIGNS}
    steps, checks = {}, []
    for name in (BARE, OURS):
        with tempfile.TemporaryDirectory() as folder:
            measuring = measure(by_name[name], asked.sizes, asked.callers, asked.settle, asked.idle, Path(folder))
            steps[name], lost = run(measuring)
        checks.append(WorkCheck(f"{by_name[name].title}: each room was joined", not lost, f"{lost} were not"))
    tables = (
        growth_table(steps[BARE], steps[OURS]),
        cost_table("A managed room, by how many there are", steps[OURS]),
        cost_table("A bare room, by how many there are", steps[BARE]),
    )
    command.finish(*tables, checks=checks)


if __name__ == "__main__":
    main()
