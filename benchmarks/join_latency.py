"""Measure how soon the join and the leave of a service are known: by the SDK's room event alone, and by this project.

    python -m benchmarks.join_latency

A join is known when the client that waits for the session has its token. The latency is the time from the return of the
service's own connect(), by the wall clock of this machine; it is negative when the join was known before. That of a
leave is the time from the call of disconnect() until the manager knows. The services run in this process and publish
nothing, like most services when they join. The observer runs in another process with its own livekit-server, because a
server sends its webhooks to fixed addresses.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from livekit import rtc
from rich.console import Console

from benchmarks.child import run
from benchmarks.command import BenchmarkCommand
from benchmarks.one_service import TIMEOUT
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.watched_rooms import RoomWatch, room_events, sessions
from manager_agent.livekit.ffi import disable_log_capture
from scripts.livekit_build import find_or_build

JOINS, QUICK_JOINS = 40, 2
CALLERS, QUICK_CALLERS = (1, 4), (1,)
PAUSE = 0.2
"""Seconds between two joins of one caller. Without the pause the machine's load would be measured."""


@dataclass(frozen=True, slots=True)
class WatchDesign:
    title: str
    start: Callable[[Path, Path], AbstractAsyncContextManager[RoomWatch]]
    is_ours: bool = False


EVENT = "room event alone"
SOONER, LEFT_SOONER = Goal(of=Compared.P99_RATIO, most=1 / 40), Goal(of=Compared.RATIO, most=1 / 20)
DESIGNS = (
    WatchDesign(EVENT, room_events),
    WatchDesign("session manager, no webhooks", partial(sessions, webhooks=False)),
    WatchDesign("session manager", partial(sessions, webhooks=True), is_ours=True),
)


@dataclass(frozen=True, slots=True)
class Noticed:
    """What became known of one service, in ms; None: not within TIMEOUT."""

    join: float | None
    leave: float | None


@dataclass(frozen=True, slots=True)
class Latencies:
    """The latencies of one design with `callers` services joining at the same time."""

    design: WatchDesign
    callers: int
    noticed: Sequence[Noticed]

    @property
    def joins(self) -> list[float]:
        return [one.join for one in self.noticed if one.join is not None]

    @property
    def leaves(self) -> list[float]:
        return [one.leave for one in self.noticed if one.leave is not None]

    @property
    def unknown(self) -> int:
        return 2 * len(self.noticed) - len(self.joins) - len(self.leaves)


def main() -> None:
    command = BenchmarkCommand("join_latency", __doc__)
    command.add_size("joins", JOINS, QUICK_JOINS, "joins per row of the table")
    command.add_size("callers", CALLERS, QUICK_CALLERS, "concurrent joins")
    asked = command.read()
    disable_log_capture()
    with tempfile.TemporaryDirectory(prefix="join-latency-") as folder:
        results = run(measure_all(asked.joins, asked.callers, Path(folder)))
    never = [f"{one.design.title}, {one.callers} at a time: {one.unknown}" for one in results if one.unknown]
    check = WorkCheck(f"each join and leave was known within {TIMEOUT:g} s", not never, "; ".join(never))
    command.finish(table(results), checks=[check])


async def measure_all(joins: int, callers: Sequence[int], folder: Path) -> list[Latencies]:
    console, results = Console(stderr=True), []
    binary = await asyncio.to_thread(find_or_build)
    for design in DESIGNS:
        async with design.start(binary, folder) as watch:
            for at_a_time in callers:
                console.print(f"{design.title}: {joins} joins, {at_a_time} at a time ...")
                results.append(await measure(design, watch, joins, at_a_time))
    return results


async def measure(design: WatchDesign, watch: RoomWatch, joins: int, callers: int) -> Latencies:
    gate = asyncio.Semaphore(callers)
    return Latencies(design, callers, await asyncio.gather(*(noticed(watch, gate) for _ in range(joins))))


async def noticed(watch: RoomWatch, gate: asyncio.Semaphore) -> Noticed:
    """How soon the join of one service is known, and then its leave."""
    room = rtc.Room()
    async with gate:
        async with asyncio.timeout(TIMEOUT):
            seat = await watch.open()
        await room.connect(seat.url, seat.token, rtc.RoomOptions(auto_subscribe=False))
        connected_at = time.time()
        await asyncio.sleep(PAUSE)
    try:
        join = await later_ms(watch.known_at(seat), connected_at)
        leaves_at = time.time()
        await room.disconnect()
        return Noticed(join, None if join is None else await later_ms(watch.left_at(seat), leaves_at))
    finally:
        await watch.close(seat)


async def later_ms(instant: Awaitable[float], began: float) -> float | None:
    """The milliseconds until that instant; None if it does not come within TIMEOUT."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return 1_000 * (await instant - began)
    except TimeoutError:
        return None


def table(results: Sequence[Latencies]) -> FigureTable:
    figures = []
    ways: tuple[tuple[str, Callable[[Latencies], list[float]], Goal], ...] = (
        ("join", lambda one: one.joins, SOONER),
        ("leave", lambda one: one.leaves, LEFT_SOONER),
    )
    for what, ms_of, goal in ways:
        for one in sorted(results, key=lambda one: one.callers):
            work, title = f"{what}, {one.callers} at a time", one.design.title
            to_reach, floor = goal if one.design.is_ours else None, None if title == EVENT else EVENT
            if ms := ms_of(one):
                figures.append(Figure.of(work, title, ms, "ms", floor=floor, goal=to_reach))
    return FigureTable(title="Until it is known what a service did", figures=figures)


if __name__ == "__main__":
    main()
