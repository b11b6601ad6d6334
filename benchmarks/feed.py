"""Measure what readers of the feed cost per change of a session: `python -m benchmarks.feed`.

A store with the feed as its only listener, without network. Measures the time of a change, including recording it for
each reader, and the time to render the changed sessions as JSON for all readers. With 0, 1 and 20 readers in turn.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measuring import times
from http_api.access.principals import DEVELOPER
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
SESSIONS = 1_000
ROUNDS = 15
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
    feed = FeedReaders(store, Registry(clock, store.in_use), Upstreams((), clock), clock)
    store.listen(feed.tell)
    asked = Session("", "", User("alice"), clock(), SERVICES, owner=DEVELOPER.name)
    for session_id in ids:
        await store.add(replace(asked, session_id=session_id, room_name=session_id))
        await store.update(session_id, ev.RoomRequested(clock()))
        await store.update(session_id, ev.RoomCreated(clock(), "RM_1"))
    return FeedBench([stack.enter_context(feed.reading(DEVELOPER)) for _ in range(readers)], store, feed)


async def main() -> None:
    ids = [f"ses_{number:026}" for number in range(SESSIONS)]
    with ExitStack() as stack:
        worlds = {readers: await feed_bench(readers, ids, stack) for readers in READERS}
        gc.collect()
        gc.disable()  # its pauses do not depend on the readers
        for number in range(ROUNDS):
            for world in worlds.values():
                await world.round(number, ids)
    for world in worlds.values():
        await world.feed.aclose()
    print(
        f"{SESSIONS} sessions with {len(SERVICES)} services, {ROUNDS} changes each; CPU microseconds per change, median"
    )
    print(f"{'readers':>8} {'recorded':>8} {'':>6} {'sent to all':>12}")
    alone = median(worlds[0].noting)
    for readers, world in worlds.items():
        noted, told = (median(took) / SESSIONS * 1e6 for took in (world.noting, world.telling))
        print(f"{readers:8} {noted:8.1f} {times(median(world.noting), alone):>6} {told:12.1f}")


if __name__ == "__main__":
    asyncio.run(main())
