"""Measure how many managers are lost when many rooms are requested at once, and how many a second join.

    python -m benchmarks.burst

All rooms of a design are requested at the same moment. The designs are those of room_cost.py, each in a process of its
own, one after another; the bare SDK, which knows its rooms and is not dispatched, is the floor. livekit-agents gets its
jobs by plain dispatch, and needs a process or threads for each: --agents limits how many rooms it gets.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.arrivals import Arrivals
from benchmarks.child import Child, ChildEnded, run
from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.room_cost import ANSWERING, BARE, DESIGNS, LEAN, OURS, ConnectionDesign, available, started_with_server

ROOMS, QUICK_ROOMS = 1_000, 4
AGENTS_ROOMS, QUICK_AGENTS_ROOMS = 50, 2
PATIENCE, QUICK_PATIENCE = 30.0, 20.0
"""Seconds without a further arrival after which the others are lost."""
COMPARABLE = 0.9
"""The share of the rooms whose manager must come for a rate to be compared."""
BY_DISPATCH = "process", "thread", "openrtc"
"""The designs with livekit-agents."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of the rooms of one design."""

    design: ConnectionDesign
    asked: int
    after: Sequence[float]
    """Seconds from the burst until each manager was in its room, by LiveKit's webhooks."""

    @property
    def lost(self) -> int:
        return self.asked - len(self.after)

    @property
    def a_second(self) -> float:
        return len(self.after) / max(self.after) if self.after else 0.0


async def burst(design: ConnectionDesign, child: Child, arrivals: Arrivals, rooms: int, patience: float) -> Burst:
    await child.ready()
    names, begun = [f"{design.name}-{number}" for number in range(rooms)], time.monotonic()
    waits = {asyncio.create_task(arrivals.of(name, None)) for name in names}
    await asyncio.sleep(0)  # each is awaited before its room is requested
    for name in names:
        child.send(name)
    after, waiting = list[float](), waits
    while waiting:
        arrived, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        after += [at - begun for wait in arrived if (at := wait.result()) is not None]
        if not arrived:
            break
    for wait in waiting:
        wait.cancel()
    return Burst(design, rooms, after)


async def measure(rooms: int, agents: int, patience: float, folder: Path) -> list[Burst]:
    bursts = []
    for design in available(one for one in DESIGNS if one.title not in (BARE, ANSWERING)):
        count = min(rooms, agents) if design.name in BY_DISPATCH else rooms
        Console(stderr=True).print(f"{design.title}: {count} rooms ...")
        bursts.append(await of_design(design, count, patience, folder))
    return bursts


async def of_design(design: ConnectionDesign, rooms: int, patience: float, folder: Path) -> Burst:
    """A design whose process ends by itself has lost all of its rooms: no manager is in them."""
    arrivals = Arrivals()
    async with started_with_server(design, arrivals, folder) as (child, _):
        try:
            return await child.meanwhile(burst(design, child, arrivals, rooms, patience))
        except ChildEnded as error:
            Console(stderr=True).print(error, markup=False)
            return Burst(design, rooms, [])


def table(bursts: Sequence[Burst]) -> FigureTable:
    figures = []
    for one in bursts:
        is_ours, floor = one.design.name == OURS, None if one.design.title == LEAN else LEAN
        rate = Goal(of=Compared.RATIO, least=0.9) if is_ours else None
        none = Goal(most=0) if is_ours else None
        by = one.design.title
        figures += [
            Figure(work="rooms", by=by, value=one.asked),
            Figure(work="managers lost", by=by, value=one.lost, goal=none),
            Figure(work="managers a second", by=by, value=one.a_second, floor=floor, goal=rate),
        ]
        if one.after:
            figures.append(Figure.of("until each is in its room", by, one.after, "s"))
    return FigureTable(title="Rooms requested at the same moment", figures=sorted(figures, key=lambda one: one.work))


def main() -> None:
    command = BenchmarkCommand("burst", __doc__)
    command.add_size("rooms", ROOMS, QUICK_ROOMS)
    command.add_size("agents", AGENTS_ROOMS, QUICK_AGENTS_ROOMS, "rooms of each design with livekit-agents, at most")
    command.add_size("patience", PATIENCE, QUICK_PATIENCE, "seconds without an arrival after which the others are lost")
    asked = command.read()
    with tempfile.TemporaryDirectory(prefix="burst-") as folder:
        bursts = run(measure(asked.rooms, asked.agents, asked.patience, Path(folder)))
    compared = [one for one in bursts if one.design.name not in BY_DISPATCH]
    found = ", ".join(f"{one.design.title}: {len(one.after)} of {one.asked}" for one in compared)
    nearly_all = all(len(one.after) >= COMPARABLE * one.asked for one in compared)
    check = WorkCheck("nearly all rooms have their manager, or the rates say nothing", nearly_all, found)
    command.finish(table(bursts), checks=[check])


if __name__ == "__main__":
    main()
