"""Measure what readers of the feed cost per change of a session: `python -m benchmarks.feed`.

A store with the feed as its only listener, without network. Measures the time of a change, including recording it for
each reader, and the time to render the changed sessions as JSON for all readers. With 0, 1 and 20 readers in turn.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Figure, FigureTable
from http_api.access.principals import DEVELOPER
from http_api.models.rendered import RenderedSessions
from http_api.observability.upstreams import Upstreams
from http_api.streams.subscribers import FeedReaders, Reader
from manager_agent.clock import SteadyClock
from manager_agent.frozen import replace
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore

READERS = (0, 1, 20)
SESSIONS, QUICK_SESSIONS = 1_000, 10
ROUNDS, QUICK_ROUNDS = 15, 2
ASR = Requirement(type="ASR")
SERVICES = tuple(RequiredService(ASR, Attempt(Chosen(f"service-{number}", "ASR"), 1)) for number in range(3))


@dataclass(slots=True)
class FeedBench:
    """A store with a number of readers, and the CPU seconds of each round."""

    readers: list[Reader]
    store: MemoryStore
    feed: FeedReaders
    noting: list[float] = field(default_factory=list)
    telling: list[float] = field(default_factory=list)

    async def round(self, number: int, ids: list[str]) -> None:
        """Change every session once, visibly to its owner."""
        changes = [ev.ManagerDispatched(time.time() + number * 100, number + 1, f"sm-{number}") for _ in ids]
        begun = time.process_time()
        for session_id, change in zip(ids, changes, strict=True):
            await self.store.update(session_id, change)
        noted = time.process_time()
        for reader in self.readers:
            for session_id in reader.take().sessions:
                self.feed.session(session_id)
        self.telling.append(time.process_time() - noted)
        self.noting.append(noted - begun)


async def feed_bench(readers: int, ids: list[str], stack: ExitStack) -> FeedBench:
    clock = SteadyClock()
    store = MemoryStore(clock)
    feed = FeedReaders(store, RenderedSessions(), Registry(clock, store.counts), Upstreams((), clock), clock)
    store.listen(feed.tell)
    asked = Session("", "", User("alice"), clock(), SERVICES, owner=DEVELOPER.name)
    for session_id in ids:
        await store.add(replace(asked, session_id=session_id, room_name=session_id))
        await store.update(session_id, ev.RoomRequested(clock()))
        await store.update(session_id, ev.RoomCreated(clock(), "RM_1"))
    return FeedBench([stack.enter_context(feed.reading(DEVELOPER)) for _ in range(readers)], store, feed)


async def measure(sessions: int, rounds: int) -> list[FeedBench]:
    ids = [f"ses_{number:026}" for number in range(sessions)]
    with ExitStack() as stack:
        benches = [await feed_bench(readers, ids, stack) for readers in READERS]
        gc.collect()
        gc.disable()  # its pauses do not depend on the readers
        for number in range(rounds):
            for bench in benches:
                await bench.round(number, ids)
    for bench in benches:
        await bench.feed.aclose()
    return benches


def table(benches: Sequence[FeedBench], sessions: int) -> FigureTable:
    floor = by_readers(benches[0])
    each = 1e6 / sessions
    recorded = (
        Figure.of("recorded", by_readers(bench), [each * seconds for seconds in bench.noting], "us", floor=floor)
        for bench in benches
    )
    sent = (
        Figure.of("sent to all", by_readers(bench), [each * seconds for seconds in bench.telling], "us")
        for bench in benches
        if bench.readers
    )
    return FigureTable(title="CPU of a change of a session with 3 services", figures=[*recorded, *sent])


def by_readers(bench: FeedBench) -> str:
    return f"{len(bench.readers)} readers"


def main() -> None:
    command = BenchmarkCommand("feed", __doc__)
    command.add_size("sessions", SESSIONS, QUICK_SESSIONS)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS, "changes of each session")
    asked = command.read()
    command.finish(table(asyncio.run(measure(asked.sessions, asked.rounds)), asked.sessions))


if __name__ == "__main__":
    main()
