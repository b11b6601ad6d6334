"""Measure what a session costs in Redis over its whole life: `python -m benchmarks.redis_session`.

Sessions of 3 services go through all their states in the store of one replica, with a callback for each state, and are
removed. 0, 1 or 2 other replicas follow. Redis itself counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import time
from typing import Any

from redis.asyncio import Redis

from benchmarks.command import BenchmarkCommand
from benchmarks.redis_process import DEPLOYMENT, RedisProcess, RedisUse, a_replica, answers, redis_process, use_of
from benchmarks.result import Figure, FigureTable, Layout
from benchmarks.watching import SERVICES, a_course
from http_api.models.responses import SessionView
from manager_agent.outbound.callback_events import CallbackOutbox
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.records.memory import MemoryRecords
from manager_agent.redis.keys import Keys
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.redis import RedisStore

SESSIONS, QUICK = 300, 3
AT_ONCE = 16
KIB = 1024
READY = "ses_ready"


@dataclass(frozen=True, slots=True)
class LifeCost:
    """Of all sessions together, but for `kept`, `told` and `entries`, which are of one."""

    sessions: int
    followers: int
    writes: int
    """Of the session: it is added, changed and removed."""
    use: RedisUse
    kept: int
    """Bytes in Redis while a session that is ready is stored."""
    told: int
    """Bytes of the changelog that the whole life takes."""
    entries: float
    """Of the changelog."""


def callbacks_of(store: RedisStore) -> None:
    """Have the events of callbacks written with the changes. Nothing delivers them."""
    deliveries = SharedDeliveries(MemoryRecords(time))
    store.record_with(CallbackOutbox(deliveries, lambda one: SessionView.of(one).model_dump(mode="json"), time))


async def live(store: RedisStore, session_id: str, *, until_ready: bool = False) -> int:
    """The number of writes of the session's life."""
    now = time()
    url = "https://shop.example/sessions"
    session = Session(session_id, session_id, User("alice"), now, SERVICES, owner="dev", callback_url=url)
    course = (*a_course(now), ev.CleanUpStarted(now), ev.CleanedUp(now))
    await store.add(session)
    for event in course[:-5] if until_ready else course:
        await store.update(session_id, event)
    if not until_ready:
        await store.remove(session_id)
    return len(course) + 2


async def memory_of(client: Redis, *keys: str) -> int:
    sizes: list[Any] = [await client.memory_usage(key, samples=0) for key in keys]
    return sum(size or 0 for size in sizes)


async def measure(sessions: int) -> Sequence[LifeCost]:
    costs = []
    for followers in range(3):
        with redis_process() as server:
            await answers(server)
            costs.append(await _measure(server, sessions, followers))
    return costs


async def _measure(server: RedisProcess, sessions: int, followers: int) -> LifeCost:
    keys = Keys(DEPLOYMENT)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(server.client())
        replicas = [
            await stack.enter_async_context(a_replica(server, f"replica-{number}")) for number in range(followers + 1)
        ]
        store = replicas[0].store
        callbacks_of(store)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> int:
            async with slots:
                return await live(store, f"ses_{number:026}")

        await one(0)
        before = await use_of(client)
        writes = await asyncio.gather(*map(one, range(1, sessions + 1)))
        for replica in replicas:
            await replica.changelog.caught_up()
        use = (await use_of(client)).since(before)
        told = await memory_of(client, keys.changes) // (sessions + 1)
        entries = int(await client.xlen(keys.changes)) / (sessions + 1)
        await live(store, READY, until_ready=True)
        kept = await memory_of(client, keys.session(READY), keys.room_name(READY))
        return LifeCost(sessions, followers, writes[0], use, kept, told, entries)


def table(costs: Sequence[LifeCost]) -> FigureTable:
    figures = [figure for cost in costs for figure in figures_of(cost)]
    title = f"A session with 3 services and callbacks, from its creation to its removal: {costs[0].writes} writes"
    return FigureTable(title=title, figures=figures, layout=Layout.GRID)


def figures_of(cost: LifeCost) -> Iterator[Figure]:
    each = {
        "commands, within scripts too": cost.use.commands / cost.sessions,
        "KiB sent to Redis": cost.use.bytes_in / cost.sessions / KIB,
        "KiB received from Redis": cost.use.bytes_out / cost.sessions / KIB,
        "CPU of Redis, ms": cost.use.cpu_s / cost.sessions * 1_000,
        "KiB in Redis while it is ready": cost.kept / KIB,
        "entries of the changelog": cost.entries,
        "KiB of the changelog, until it is trimmed": cost.told / KIB,
    }
    for work, value in each.items():
        yield Figure(work=work, by=f"{cost.followers} others follow", value=value)


def main() -> None:
    command = BenchmarkCommand("redis_session", __doc__)
    command.add_size("sessions", SESSIONS, QUICK)
    command.finish(table(asyncio.run(measure(command.read().sessions))))


if __name__ == "__main__":
    main()
