"""Measure what does not grow with the number of stored sessions: `python -m benchmarks.redis_growth`.

A replica adds sessions that are ready; then a second replica starts and reads them all. What both do all the time is
measured at each size, without other load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from benchmarks.child import run, running
from benchmarks.measuring import percentile, times
from benchmarks.redis_process import BenchReplica, RedisProcess, a_replica, answers, redis_process, use_of
from benchmarks.redis_update import Users
from benchmarks.watching import SERVICES, a_course
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.take_over import TakeOver
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply

SIZES = (1_000, 10_000, 100_000)
TRIALS = 300
AT_ONCE = 64
KB = 1_000


@dataclass(frozen=True, slots=True)
class Grown:
    sessions: int
    update: float
    read: float
    poll: float
    """Milliseconds, p50."""
    update_p99: float
    started: float
    """Seconds until a further replica has read everything."""
    in_redis: float
    in_replica: float
    """Bytes per session."""


async def timed(action: Callable[[int], Awaitable[object]], trials: int) -> list[float]:
    """Milliseconds of each."""
    took = []
    for number in range(trials):
        begun = time.perf_counter()
        await action(number)
        took.append((time.perf_counter() - begun) * 1_000)
    return took


async def fill(replica: BenchReplica, sessions: int) -> None:
    now = time.time()
    course = list(a_course(now))[:-3]
    numbers = iter(range(sessions))

    async def some() -> None:
        for number in numbers:
            session_id = _id(number)
            asked = Session(session_id, session_id, User("alice"), now, SERVICES, owner=f"caller-{number % 100}")
            await replica.store.add(reduce(apply, course, asked))

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    await replica.changelog.caught_up()


def _id(number: int) -> str:
    return f"ses_{number:026}"


async def measure(sizes: Sequence[int], trials: int) -> Sequence[Grown]:
    grown = []
    for sessions in sizes:
        with redis_process() as server:
            await answers(server)
            grown.append(await _measure(server, sessions, trials))
    return grown


async def _measure(server: RedisProcess, sessions: int, trials: int) -> Grown:
    async with AsyncExitStack() as stack:
        client: Redis = await stack.enter_async_context(server.client())
        a = await stack.enter_async_context(a_replica(server, "a"))
        empty = (await use_of(client)).memory
        await fill(a, sessions)
        await client.xtrim(a.connection.keys.changes, maxlen=1, approximate=False)
        in_redis = ((await use_of(client)).memory - empty) / sessions
        started, in_replica = await follower(server)
        b = await stack.enter_async_context(a_replica(server, "b"))
        users, step = Users(), max(sessions // AT_ONCE, 1)

        async def update(number: int) -> None:
            await a.store.update(_id(number % AT_ONCE * step % sessions), users.next(number % AT_ONCE))

        async def read(number: int) -> None:
            await b.changelog.caught_up()
            b.store.get(_id(number * 7_919 % sessions))

        members = [await stack.enter_async_context(a_member(replica, name)) for replica, name in ((a, "a"), (b, "b"))]
        take_over = TakeOver(b.store, members[1])

        async def poll(_: int) -> None:
            await members[1]._renew()
            await take_over._take_all()

        await timed(update, AT_ONCE)
        updates, reads, polls = await timed(update, trials), await timed(read, trials), await timed(poll, trials)
        medians = median(updates), median(reads), median(polls)
        return Grown(sessions, *medians, percentile(updates, 99), started, in_redis, in_replica / sessions)


@asynccontextmanager
async def a_member(replica: BenchReplica, name: str) -> AsyncIterator[Membership]:
    """The replica holds its lease."""
    membership = Membership(replica.connection, replica.changelog)
    membership.id = name
    await membership.start()
    try:
        await membership.renew()
        yield membership
    finally:
        await membership.aclose()


async def follower(server: RedisProcess) -> tuple[float, float]:
    """The seconds that a further replica needs to read everything, and its memory for that in bytes."""
    with TemporaryDirectory() as folder:
        async with running("benchmarks.redis_follower", str(server.port), log=Path(folder) / "log") as child:
            line = "{}"
            while not line.startswith("["):
                line = await child.receive()  # or an entry of its log
            seconds, size = json.loads(line)
            return seconds, size


def show(grown: Sequence[Grown]) -> None:
    print(f"\n{'stored sessions, ready, with 3 services':<44} " + " ".join(f"{one.sessions:>17,}" for one in grown))
    first = grown[0]
    rows: dict[str, tuple[Callable[[Grown], float], str]] = {
        "update, ms, p50": (lambda one: one.update, ".2f"),
        "update, ms, p99": (lambda one: one.update_p99, ".2f"),
        "read at another replica, ms, p50": (lambda one: one.read, ".2f"),
        "lease renewed, nothing to take over, ms, p50": (lambda one: one.poll, ".2f"),
        "KB in Redis per session": (lambda one: one.in_redis / KB, ".1f"),
        "KB in a replica per session": (lambda one: one.in_replica / KB, ".1f"),
        "start of a replica, ms per session": (lambda one: one.started * 1_000 / one.sessions, ".3f"),
    }
    for name, (value, form) in rows.items():
        cells = [f"{value(one):>9{form}} {times(value(one), value(first)):<7}" for one in grown]
        print(f"{name:<44} " + " ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--trials", type=int, default=TRIALS)
    arguments = parser.parse_args()
    show(run(measure(arguments.sizes, arguments.trials)))


if __name__ == "__main__":
    main()
