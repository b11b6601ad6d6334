"""Measure what does not grow with the number of stored sessions: `python -m benchmarks.redis_growth`.

A replica adds sessions that are ready; then a second replica starts and reads them all. What both do all the time is
measured at each size, without other load.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from benchmarks.child import run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import percentile
from benchmarks.redis_process import BenchReplica, RedisProcess, a_replica, answers, redis_process, use_of
from benchmarks.redis_update import Users
from benchmarks.result import Compared, Figure, FigureTable, Goal, Layout
from benchmarks.watching import SERVICES, a_course
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.take_over import TakeOver
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (20, 40)
TRIALS, QUICK_TRIALS = 300, 3
FLAT = Goal(of=Compared.RATIO, most=1.2)
"""What does not depend on how much is stored."""
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


def table(grown: Sequence[Grown]) -> FigureTable:
    figures = [figure for one in grown for figure in figures_of(one, floor=grown[0])]
    title = "One replica and a second one, by stored sessions that are ready, with 3 services"
    return FigureTable(title=title, figures=figures, layout=Layout.GRID)


def figures_of(one: Grown, floor: Grown) -> Iterator[Figure]:
    measured = {
        "update, ms, p50": one.update,
        "update, ms, p99": one.update_p99,
        "read at another replica, ms, p50": one.read,
        "lease renewed, nothing to take over, ms, p50": one.poll,
        "KB in Redis per session": one.in_redis / KB,
        "KB in a replica per session": one.in_replica / KB,
        "start of a replica, ms per session": one.started * 1_000 / one.sessions,
    }
    for work, value in measured.items():
        goal = FLAT if one is not floor and not work.endswith("p99") else None
        yield Figure(work=work, by=by_size(one), value=value, floor=None if one is floor else by_size(floor), goal=goal)


def by_size(one: Grown) -> str:
    return f"{one.sessions:,} sessions"


def main() -> None:
    command = BenchmarkCommand("redis_growth", __doc__)
    command.add_size("sizes", SIZES, QUICK_SIZES, "numbers of stored sessions")
    command.add_size("trials", TRIALS, QUICK_TRIALS)
    asked = command.read()
    command.finish(table(run(measure(asked.sizes, asked.trials))))


if __name__ == "__main__":
    main()
