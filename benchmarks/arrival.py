"""Measure how soon a room has its manager, against a bare join that is not dispatched.

    python -m benchmarks.arrival

The session manager and the bare SDK are up at the same time, each in a process of its own, and take turns. A turn is
some rooms, requested one at a time or several at a time; they are closed at its end. The bare SDK knows its rooms and
joins them itself. LiveKit would offer the job of a manager after 200 ms; the process that dispatches it takes it before
(docs/decisions/0040-jobs-are-taken-at-once.md).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from livekit import api

from benchmarks.arrivals import KEY, SECRET, Arrivals, room_names
from benchmarks.child import Child, run
from benchmarks.command import BenchmarkCommand
from benchmarks.designs import CLOSE
from benchmarks.measuring import footprint
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.room_cost import DESIGNS, LEAN, OURS, ConnectionDesign, started_with_server

TURNS, QUICK_TURNS = 15, 1
CALLERS, QUICK_CALLERS = (1, 8), (1, 2)
ROOMS, QUICK_ROOMS = 8, 2
"""Of a turn."""
SETTLE, QUICK_SETTLE = 0.5, 0.1
"""Seconds after the rooms of a turn are closed."""
CLOSE_TIMEOUT, POLL_PAUSE = 30.0, 0.05
"""Seconds for all rooms of a turn to be closed, and between two looks."""
COMPARED = [design for design in DESIGNS if design.title == LEAN or design.name == OURS]
SOON, STEADY = Goal(of=Compared.RATIO, most=1.3), Goal(of=Compared.P99_TO_MEDIAN, most=3)


@dataclass(slots=True)
class ArrivalCase:
    design: ConnectionDesign
    child: Child
    livekit_url: str
    numbers: count[int] = field(default_factory=count)
    ms: dict[int, list[float]] = field(default_factory=dict)
    """From the request for a room until its manager was in it, by the number of callers."""
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)
    """CPU of a room in each turn."""
    lost: int = 0

    async def turn(self, arrivals: Arrivals, rooms: int, callers: int) -> None:
        slots, before = asyncio.Semaphore(callers), footprint(self.child.pid).cpu_s

        async def one() -> float | None:
            async with slots:
                name, asked_at = f"{self.design.name}-{next(self.numbers)}", time.monotonic()
                self.child.send(name)
                active_at = await arrivals.of(name)
                return None if active_at is None else 1_000 * (active_at - asked_at)

        found = await asyncio.gather(*(one() for _ in range(rooms)))
        waits = [ms for ms in found if ms is not None]
        self.lost += rooms - len(waits)
        self.ms.setdefault(callers, []).extend(waits)
        cpu_s = footprint(self.child.pid).cpu_s - before
        self.cpu_ms.setdefault(callers, []).append(1_000 * cpu_s / rooms)

    async def close_all(self) -> None:
        """Have all rooms closed by the design itself: the session manager makes one again that others delete. Raises
        TimeoutError."""
        async with asyncio.timeout(CLOSE_TIMEOUT), api.LiveKitAPI(self.livekit_url, KEY, SECRET) as livekit:
            asked = set[str]()
            while names := {name for name in await room_names(livekit) if name.startswith(f"{self.design.name}-")}:
                for name in names - asked:
                    self.child.send(f"{CLOSE}{name}")
                asked |= names
                await asyncio.sleep(POLL_PAUSE)


async def measure(turns: int, rooms: int, callers: Sequence[int], settle: float, folder: Path) -> Sequence[ArrivalCase]:
    arrivals = Arrivals()
    async with AsyncExitStack() as stack:
        cases = []
        for design in COMPARED:
            child, url = await stack.enter_async_context(started_with_server(design, arrivals, folder))
            await child.ready()
            cases.append(ArrivalCase(design, child, url))
        for case in cases:  # the first rooms load what all share
            await turn(case, arrivals, max(callers), max(callers), settle)
            case.ms.clear()
            case.cpu_ms.clear()
        for _ in range(turns):
            for at_a_time in callers:
                for case in cases:
                    await turn(case, arrivals, max(rooms, at_a_time), at_a_time, settle)
        return cases


async def turn(case: ArrivalCase, arrivals: Arrivals, rooms: int, callers: int, settle: float) -> None:
    await case.child.meanwhile(case.turn(arrivals, rooms, callers))
    await case.child.meanwhile(case.close_all())
    await asyncio.sleep(settle)


def table(cases: Sequence[ArrivalCase]) -> FigureTable:
    figures = []
    for at_a_time in cases[0].ms:
        for case in cases:
            is_ours, by, ms = case.design.name == OURS, case.design.title, case.ms[at_a_time]
            floor, soon = (LEAN, SOON) if is_ours else (None, None)
            named = f"{at_a_time} at a time"
            cpu_ms = case.cpu_ms[at_a_time]
            if ms:
                figures.append(Figure.of(f"until its manager is in it, {named}", by, ms, "ms", floor=floor, goal=soon))
            if ms and is_ours and at_a_time > 1:
                figures.append(Figure.of(f"its p99, {named}", by, ms, "ms", goal=STEADY))
            figures.append(Figure.of(f"CPU of a room, {named}", by, cpu_ms, "ms", floor=floor))
    return FigureTable(title="From the request for a room", figures=sorted(figures, key=lambda one: one.work))


def main() -> None:
    command = BenchmarkCommand("arrival", __doc__)
    command.add_size("turns", TURNS, QUICK_TURNS, "turns of each")
    command.add_size("rooms", ROOMS, QUICK_ROOMS, "rooms of a turn, at least")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "rooms requested at a time")
    command.add_size("settle", SETTLE, QUICK_SETTLE, "seconds between two turns")
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        cases = run(measure(asked.turns, asked.rooms, asked.callers, asked.settle, Path(folder)))
    found = ", ".join(f"{case.design.title}: {case.lost} without" for case in cases)
    command.finish(table(cases), checks=[WorkCheck("each room got its manager", not any(c.lost for c in cases), found)])


if __name__ == "__main__":
    main()
