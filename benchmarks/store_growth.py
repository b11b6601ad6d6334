"""Measure what must not grow with what a process keeps in memory: `python -m benchmarks.store_growth`.

A store of each size has that many sessions that are ready, with 3 services; a registry that many services. The sizes
take turns, so that what else the machine does affects all alike. The smallest is the floor.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from itertools import count

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal
from benchmarks.watching import SERVICES, a_course
from http_api.observability import logs
from manager_agent.clock import SteadyClock
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.required_service import Requirement
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply
from manager_agent.store.memory import MemoryStore

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (10, 20)
SERVICE_SIZES, QUICK_SERVICE_SIZES = (100, 1_000, 10_000), (10, 20)
ROUNDS, QUICK_ROUNDS = 15, 2
PER_ROUND = 200
FLAT = Goal(of=Compared.RATIO, most=1.2)

Step = Callable[[int], Awaitable[object]]


def _id(number: int) -> str:
    return f"ses_{number:026}"


async def filled_store(sessions: int) -> MemoryStore:
    store, now = MemoryStore(SteadyClock()), time.time()
    ready = list(a_course(now))[:-3]
    for number in range(sessions):
        asked = Session(_id(number), _id(number), User("alice"), now, SERVICES, owner=f"caller-{number % 100}")
        await store.add(reduce(apply, ready, asked))
    return store


def change_in(store: MemoryStore, sessions: int) -> Step:
    """A user comes into one of the sessions, and leaves again: two changes."""
    sids = count()

    async def change(number: int) -> None:
        session_id, sid = _id(number * 7_919 % sessions), f"PA_{next(sids)}"
        await store.update(session_id, ev.ParticipantSeen(time.time(), ParticipantInfo("alice", sid)))
        await store.update(session_id, ev.ParticipantLeft(time.time(), "alice", sid))

    return change


def creation_in(store: MemoryStore) -> Step:
    numbers = count()

    async def create(_: int) -> None:
        session_id = f"ses_new{next(numbers):023}"
        await store.add(Session(session_id, session_id, User("alice"), time.time(), SERVICES, owner="dev"))
        await store.remove(session_id)

    return create


def choice_among(services: int, types: int) -> Step:
    """3 services are chosen for a session, which is added to the store, and removed."""
    store = MemoryStore(SteadyClock())
    registry, numbers = Registry(SteadyClock(), store.counts), count()
    for number in range(services):
        registry.register(RegisteredService(f"asr-{number}", f"type {number % types}", "http://asr.example/invite"))
    wanted = [Requirement(type=f"type {number % types}") for number in range(3)]

    async def choose(_: int) -> None:
        session_id = f"ses_new{next(numbers):023}"
        chosen = registry.choose(wanted)
        assert len(chosen) == len(wanted)
        await store.add(Session(session_id, session_id, User("alice"), time.time(), chosen, owner="dev"))
        await store.remove(session_id)

    return choose


async def measure(work: str, steps: dict[str, Step], rounds: int) -> list[Figure]:
    took: dict[str, list[float]] = {by: [] for by in steps}
    for step in steps.values():
        await step(0)  # what the first one prepares for all others
    for _ in range(rounds):
        for by, step in steps.items():
            begun = time.process_time()
            for number in range(PER_ROUND):
                await step(number)
            took[by].append(1e6 * (time.process_time() - begun) / PER_ROUND)
    floor = next(iter(steps))
    goals = {by: FLAT for by in steps if by != floor}
    return [Figure.of(work, by, us, "us", floor=floor, goal=goals.get(by)) for by, us in took.items()]


async def measure_all(sizes: Sequence[int], service_sizes: Sequence[int], rounds: int) -> list[FigureTable]:
    stores = {size: await filled_store(size) for size in sizes}
    gc.collect()
    gc.freeze()  # as the server does
    changes = {f"{size:,} sessions": change_in(store, size) for size, store in stores.items()}
    creations = {f"{size:,} sessions": creation_in(store) for size, store in stores.items()}
    many_types, one_type = (
        {f"{size:,} services": choice_among(size, types) for size in service_sizes} for types in (10, 1)
    )
    figures = [
        *await measure("two changes", changes, rounds),
        *await measure("a session added and removed", creations, rounds),
    ]
    return [
        FigureTable(title="CPU, by the sessions that are in the store", figures=figures),
        FigureTable(
            title="CPU, by the services that are registered",
            figures=[
                *await measure("a choice of 3 services of 10 types", many_types, rounds),
                *await measure("a choice of 3 services of 1 type", one_type, rounds),
            ],
        ),
    ]


def main() -> None:
    command = BenchmarkCommand("store_growth", __doc__)
    command.add_size("sizes", SIZES, QUICK_SIZES, "numbers of sessions")
    command.add_size("services", SERVICE_SIZES, QUICK_SERVICE_SIZES, "numbers of services")
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    asked = command.read()
    logs.configure(dev=False, level="error", secrets=())
    command.finish(*asyncio.run(measure_all(asked.sizes, asked.services, asked.rounds)))


if __name__ == "__main__":
    main()
