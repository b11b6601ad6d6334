"""Measure what an update of a session in Redis costs: `python -m benchmarks.redis_update`.

The floor is one EVALSHA of the bare client of redis-py: the same script with the same bytes, for a session that no
replica follows. Both take turns in the same process, on the same Redis, one at a time and 64 at a time.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from redis.asyncio import Redis

from benchmarks.command import BenchmarkCommand
from benchmarks.redis_process import DEPLOYMENT, BenchReplica, RedisProcess, a_replica, answers, redis_process, use_of
from benchmarks.result import Figure, FigureTable
from benchmarks.watching import SERVICES, a_course
from manager_agent.redis.script import Script
from manager_agent.session import events as ev
from manager_agent.session.events import Event, ParticipantInfo
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store

AT_ONCE = 64
PER_ROUND = 512
ROUNDS, QUICK = 12, 1
FASTEST = "update, memory"
FLOOR = "floor: bare EVALSHA of the same bytes"


@dataclass
class UpdateRow:
    """One way to make an update, and what it took."""

    name: str
    update: Callable[[int], Awaitable[object]]
    """Update the session of this number."""
    settle: Callable[[], Awaitable[object]] | None = None
    """Wait for what an update leaves to be done."""
    took: list[float] = field(default_factory=list)
    cpu: float = 0.0
    redis_cpu: float = 0.0

    async def round(self, at_once: int, client: Redis) -> None:
        before, cpu = await use_of(client), time.process_time()
        await asyncio.gather(*(self._some(worker, PER_ROUND // at_once) for worker in range(at_once)))
        if self.settle is not None:
            await self.settle()
        self.cpu += time.process_time() - cpu
        self.redis_cpu += (await use_of(client)).since(before).cpu_s

    async def _some(self, worker: int, number: int) -> None:
        for _ in range(number):
            begun = time.perf_counter()
            await self.update(worker)
            self.took.append(time.perf_counter() - begun)


class Users:
    """Events that each change a session: its user comes, or leaves."""

    def __init__(self) -> None:
        self._counts = [count() for _ in range(AT_ONCE)]

    def next(self, session: int) -> Event:
        number, now = next(self._counts[session]), time.time()
        sid = f"PA_{number // 2:012}"
        if number % 2:
            return ev.ParticipantLeft(now, "alice", sid)
        return ev.ParticipantSeen(now, ParticipantInfo("alice", sid, joined_ms=number))


async def with_sessions(store: Store) -> Callable[[int], Awaitable[object]]:
    """Add sessions that are ready, and return what updates one of them."""
    users, now = Users(), time.time()
    for number in range(AT_ONCE):
        session_id = _id(number)
        await store.add(Session(session_id, f"room-{number}", User("alice"), now, SERVICES, owner="dev"))
        for event in list(a_course(now))[:-3]:
            await store.update(session_id, event)
    return lambda number: store.update(_id(number), users.next(number))


def _id(number: int) -> str:
    return f"ses_{number:026}"


class Floor:
    """Sends again what the store sent, for sessions of a deployment without replicas."""

    def __init__(self, replica: BenchReplica, client: Redis) -> None:
        self._client = client
        self._sent: dict[str, tuple[Sequence[str], Sequence[Any]]] = {}
        self._twins: list[tuple[Sequence[str], dict[str, Any], Sequence[Any]]] = []
        run = replica.connection.run

        async def recording(script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
            if script.name == "update_session":
                self._script = script
                self._sent[keys[1]] = keys, args
            return await run(script, keys, args)

        replica.connection.run = recording  # type: ignore[method-assign]

    async def prepare(self, client: Redis) -> None:
        """The twins of the store's sessions."""
        for keys, args in self._sent.values():
            twin = _twin(keys)
            self._twins.append((twin, json.loads(args[0]), args[1:]))
            for key, its_twin in zip(keys, twin, strict=True):
                if await client.exists(key) and not await client.exists(its_twin) and "changes" not in key:
                    await client.copy(key, its_twin)
        await client.script_load(self._script.source)

    async def update(self, number: int) -> None:
        keys, wanted, rest = self._twins[number]
        wanted["version"], wanted["last_write"] = wanted["version"] + 1, wanted["write"]
        wanted["write"] = f"floor/{wanted['version']}"
        status, _ = await self._client.evalsha(self._script.sha, len(keys), *keys, json.dumps(wanted), *rest)
        assert status == b"written", status


def _twin(keys: Sequence[str]) -> Sequence[str]:
    return [key.replace(f"{{{DEPLOYMENT}}}", f"{{{DEPLOYMENT}-floor}}") for key in keys]


async def measure(at_once: int, rounds: int) -> Sequence[UpdateRow]:
    with redis_process() as server:
        await answers(server)
        return await _measure(server, at_once, rounds)


async def _measure(server: RedisProcess, at_once: int, rounds: int) -> Sequence[UpdateRow]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(server.client())
        bare = await stack.enter_async_context(server.client(connections=AT_ONCE))
        replica = await stack.enter_async_context(a_replica(server, "replica-1"))
        floor = Floor(replica, bare)
        update = await with_sessions(replica.store)
        for number in range(AT_ONCE):
            await update(number)
        await floor.prepare(client)
        rows = [
            UpdateRow(FLOOR, floor.update),
            UpdateRow("update, Redis", update, replica.changelog.caught_up),
            UpdateRow(FASTEST, await with_sessions(MemoryStore(time.time))),
        ]
        for row in rows:  # warm up
            await replace(row).round(at_once, client)
            row.took.clear()
        gc.collect()
        for _ in range(rounds):
            for row in rows:
                await row.round(at_once, client)
        return rows


def table(at_once: int, rows: Sequence[UpdateRow]) -> FigureTable:
    figures = [
        *(Figure.of("an update", row.name, [1e3 * s for s in row.took], "ms", floor=FLOOR) for row in rows),
        *(mean("CPU here", row.name, row.cpu, row) for row in rows),
        *(mean("CPU of Redis", row.name, row.redis_cpu, row) for row in rows if row.name != FASTEST),
    ]
    title = f"{len(rows[0].took)} updates of sessions with 3 services, {at_once} at a time"
    return FigureTable(title=title, figures=figures)


def mean(work: str, by: str, seconds: float, row: UpdateRow) -> Figure:
    return Figure(work=work, by=by, unit="ms", value=1e3 * seconds / len(row.took), floor=FLOOR)


def main() -> None:
    command = BenchmarkCommand("redis_update", __doc__)
    command.add_size("rounds", ROUNDS, QUICK, "how often the cases take turns")
    rounds = command.read().rounds
    command.finish(*(table(at_once, asyncio.run(measure(at_once, rounds))) for at_once in (1, AT_ONCE)))


if __name__ == "__main__":
    main()
