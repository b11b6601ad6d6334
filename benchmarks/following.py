"""Measure what a session costs the replica that acts for it and each that follows: `python -m benchmarks.following`.

Sessions of 3 services, with a callback for each state, go through all their states in the store of one replica. Another
replica, a process of its own, applies every change to its mirror. Rooms, HTTP and services are not part of it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.child import Child, run, running, say
from benchmarks.command import BenchmarkCommand
from benchmarks.redis_process import RedisProcess, a_replica, answers, redis_process, use_of
from benchmarks.redis_session import AT_ONCE, callbacks_of, live
from benchmarks.result import Figure, FigureTable

SESSIONS, QUICK = 400, 5
FOLLOW = "--follow"
"""How a child is started."""


@dataclass(frozen=True, slots=True)
class FollowingCost:
    """CPU for the whole life of one session, in ms."""

    writes: int
    acting: float
    following: float
    redis: float
    """While one replica follows."""


async def measure(sessions: int) -> FollowingCost:
    with redis_process() as server, TemporaryDirectory() as folder:
        await answers(server)
        module = "benchmarks.following"
        async with running(module, FOLLOW, str(server.port), log=Path(folder) / "log") as follower:
            return await _measure(server, follower, sessions)


async def _measure(server: RedisProcess, follower: Child, sessions: int) -> FollowingCost:
    async with server.client() as client, a_replica(server, "acting") as replica:
        callbacks_of(replica.store)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> int:
            async with slots:
                return await live(replica.store, f"ses_{number:026}")

        await one(0)
        begun, before, followed = time.process_time(), await use_of(client), await _cpu_of(follower)
        writes = await asyncio.gather(*(one(number) for number in range(1, sessions + 1)))
        acted = time.process_time() - begun
        use = (await use_of(client)).since(before)
        following = await _cpu_of(follower) - followed
        return FollowingCost(writes[0], *(1_000 * spent / sessions for spent in (acted, following, use.cpu_s)))


async def _cpu_of(follower: Child) -> float:
    """Its CPU in seconds, once it has applied all changes."""
    follower.send("how much")
    while not (line := await follower.receive()).startswith("cpu "):
        pass  # an entry of its log
    return float(line.removeprefix("cpu "))


async def follow(server: RedisProcess) -> None:
    """The child: says how much CPU it has used, whenever it is asked."""
    loop = asyncio.get_running_loop()
    async with a_replica(server, "following") as replica:
        while await loop.run_in_executor(None, sys.stdin.readline):
            await replica.changelog.caught_up()
            say(f"cpu {time.process_time()}")


def table(cost: FollowingCost) -> FigureTable:
    spent = {
        "the replica that acts for it": cost.acting,
        "each replica that follows": cost.following,
        "Redis, with one that follows": cost.redis,
    }
    figures = [Figure(work="CPU of a session", by=by, unit="ms", value=ms) for by, ms in spent.items()]
    title = f"A session with 3 services and callbacks, {cost.writes} writes; CPU, mean"
    return FigureTable(title=title, figures=figures)


def main() -> None:
    if sys.argv[1:2] == [FOLLOW]:
        asyncio.run(follow(RedisProcess(int(sys.argv[2]), 0)))
        return
    command = BenchmarkCommand("following", __doc__)
    command.add_size("sessions", SESSIONS, QUICK)
    command.finish(table(run(measure(command.read().sessions))))


if __name__ == "__main__":
    main()
