"""Measure what a change of a session costs above copying the session once: `python -m benchmarks.change_rate`.

A session is a frozen value, so a change can't cost less than a copy of it with one field replaced: the floor. `apply`
is the pure core; the store computes the change with it and keeps it, without listeners (benchmarks/watching.py has
them).
Sessions with 3 and with 30 services go through all their states, in turns.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, reduce

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck
from benchmarks.watching import a_course
from manager_agent.clock import SteadyClock
from manager_agent.frozen import replace
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, Event
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply
from manager_agent.store.memory import MemoryStore

SERVICES = 3, 30
SESSIONS, QUICK_SESSIONS = 500, 3
ROUNDS, QUICK_ROUNDS = 9, 2
FLOOR = "floor: the session copied once"
CORE = "the core: apply"
RATE = 0.3
"""The core's rate, as a share of that of the floor."""
STORE = "the store, no listeners"

Life = Callable[[Session, Sequence[Event]], Awaitable[Session]]
"""Makes so many changes of a session as there are events, and returns what it is then."""


def a_session(number: int, services: int) -> Session:
    instances = (Chosen(f"service-{entry}", f"type {entry}") for entry in range(services))
    required = tuple(RequiredService(Requirement(type=one.type), Attempt(one)) for one in instances)
    session_id = f"ses_{number:026}"
    return Session(session_id, session_id, User("alice"), time.time(), required, owner="dev")


async def copied(session: Session, course: Sequence[Event]) -> Session:
    for number, _ in enumerate(course):
        session = replace(session, created_at=float(number))
    return session


async def applied(session: Session, course: Sequence[Event]) -> Session:
    return reduce(apply, course, session)


async def stored(store: MemoryStore, session: Session, course: Sequence[Event]) -> Session:
    await store.add(session)
    for event in course:
        last = await store.update(session.session_id, event)
    await store.remove(session.session_id)
    return last


async def measure(services: int, sessions: int, rounds: int) -> tuple[list[Figure], WorkCheck]:
    course = list(a_course(time.time(), services))
    asked = [a_session(number, services) for number in range(sessions)]
    lives: dict[str, Life] = {FLOOR: copied, CORE: applied, STORE: partial(stored, MemoryStore(SteadyClock()))}
    took: dict[str, list[float]] = {name: [] for name in lives}
    ended: dict[str, list[Session]] = {}
    for _ in range(rounds):
        for name, life in lives.items():
            gc.collect()
            begun = time.process_time()
            ended[name] = [await life(session, course) for session in asked]
            took[name].append(1e6 * (time.process_time() - begun) / (sessions * len(course)))
    same = [one.state for one in ended[CORE]] == [one.state for one in ended[STORE]]
    goals = {CORE: Goal(of=Compared.RATIO, most=1 / RATE)}
    work = f"{services} services"
    figures = [Figure.of(work, name, us, "us", floor=FLOOR, goal=goals.get(name)) for name, us in took.items()]
    return figures, WorkCheck(f"core and store end in the same states, {work}", same)


async def measure_all(sessions: int, rounds: int) -> tuple[FigureTable, list[WorkCheck]]:
    measured = [await measure(services, sessions, rounds) for services in SERVICES]
    figures = [figure for some, _ in measured for figure in some]
    return FigureTable(title="CPU of a change of a session", figures=figures), [check for _, check in measured]


def main() -> None:
    command = BenchmarkCommand("change_rate", __doc__)
    command.add_size("sessions", SESSIONS, QUICK_SESSIONS)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    asked = command.read()
    table, checks = asyncio.run(measure_all(asked.sessions, asked.rounds))
    command.finish(table, checks=checks)


if __name__ == "__main__":
    main()
