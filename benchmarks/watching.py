"""Measure the cost of observability: `python -m benchmarks.watching`.

Sessions go through their states in the application's store, without network: with no listeners, with all of the
application's listeners, and with their logging too. It also measures the cost of a scrape of /metrics.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Compared, Figure, FigureTable, Goal
from http_api.app import create_app
from http_api.app_keys import STORE
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.observability.metrics.labels import VALUES_MAX
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.sinks import LogSinks
from http_api.resources.metrics import Collected
from http_api.settings.secret_values import secret_values
from http_api.settings.settings import DevSettings
from manager_agent.clock import SteadyClock
from manager_agent.control import session_log
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, Event, ParticipantInfo
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store

SESSIONS, QUICK_SESSIONS = 1_000, 10
ROUNDS, QUICK_ROUNDS = 7, 2
ALONE = "no listeners"
INSTANCES = [Chosen(f"service-{number}", f"type {number}") for number in range(3)]
SERVICES = tuple(RequiredService(Requirement(type=instance.type), Attempt(instance)) for instance in INSTANCES)
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Nowhere(io.StringIO):
    """A stream that discards the log."""

    def write(self, text: str) -> int:
        return len(text)


def log_from(level: int) -> None:
    """Log from this level on. A logger is made at its first entry, as in the server, and not at every one. So that of
    the only module that logs here is made anew."""
    filtering = structlog.make_filtering_bound_logger(level)
    structlog.configure(wrapper_class=filtering, cache_logger_on_first_use=True)
    session_log.log = structlog.get_logger()


@dataclass(slots=True)
class Watched:
    """A store with its listeners, and the CPU seconds per change in each round."""

    name: str
    store: Store
    level: int
    took: list[float] = field(default_factory=list)

    async def round(self, sessions: int) -> None:
        """Take new sessions through all their states, in turn, and remove them."""
        log_from(self.level)
        ids, now = [f"ses_{number:026}" for number in range(sessions)], time.time()
        course = list(a_course(now))
        begun = time.process_time()
        await add_sessions(self.store, ids, now)
        for event in course:
            for session_id in ids:
                await self.store.update(session_id, event)
        for session_id in ids:
            await self.store.remove(session_id)
        self.took.append((time.process_time() - begun) / (sessions * (len(course) + 2)))


async def add_sessions(store: Store, ids: list[str], now: float) -> None:
    for session_id in ids:
        await store.add(Session(session_id, session_id, User("alice"), now, SERVICES, owner="dev"))


def a_course(at: float, services: int = len(SERVICES)) -> Iterator[Event]:
    """The events of a session with so many services whose user joins and leaves."""
    yield ev.RoomRequested(at)
    yield ev.ManagerDispatched(at, 1, "sm-manager-1")
    yield ev.RoomCreated(at, "RM_1")
    yield ev.ParticipantSeen(at, ParticipantInfo("sm-manager-1", "PA_manager"))
    for entry in range(services):
        yield ev.InviteStarted(at, entry, 1, 1, f"sm-service-{entry}", f"inv_{entry}")
        yield ev.InviteAccepted(at, entry, 1, 1)
        yield ev.ParticipantSeen(at, ParticipantInfo(f"sm-service-{entry}", f"PA_{entry}"))
    yield ev.ParticipantSeen(at, ParticipantInfo("alice", "PA_alice"))
    yield ev.ParticipantLeft(at, "alice", "PA_alice")
    yield ev.SessionClosed(at)


def an_application() -> web.Application:
    """The application, not started. Its log stream is discarded; the entries per session are kept as usual."""
    settings, sinks = DevSettings(_env_file=None), LogSinks()
    logs.configure(dev=False, level="info", secrets=secret_values(settings), stream=Nowhere(), sinks=sinks.takers)
    return create_app(compose(settings, sinks))


def scrape(app: web.Application, accept: str, rounds: int) -> tuple[list[float], list[float]]:
    """The CPU milliseconds to collect all metrics, and to encode them."""
    reading, writing = [], []
    encode, _ = choose_encoder(accept)
    for _ in range(rounds):
        begun = time.process_time()
        collected = Collected(app[METRICS].registry)
        read = time.process_time()
        encode(collected)
        writing.append(1e3 * (time.process_time() - read))
        reading.append(1e3 * (read - begun))
    return reading, writing


async def measure(sessions: int, rounds: int) -> tuple[FigureTable, FigureTable]:
    app = an_application()
    watched = (
        Watched(ALONE, MemoryStore(SteadyClock()), logging.INFO),
        Watched("all listeners, no logging", app[STORE], logging.ERROR),
        Watched("all listeners, LOG_LEVEL=info", app[STORE], logging.INFO),
    )
    gc.collect()
    gc.disable()  # its pauses do not depend on the listeners
    for _ in range(rounds):
        for one in watched:
            await one.round(sessions)
    return changes(watched), await scrapes(app, sessions, rounds)


def changes(watched: Sequence[Watched]) -> FigureTable:
    figures = []
    for one in watched:
        goal = None if one.name == ALONE else Goal(of=Compared.RATIO, most=2.0)
        took = [1e6 * seconds for seconds in one.took]
        figures.append(Figure.of("a change", one.name, took, "us", floor=ALONE, goal=goal))
    return FigureTable(title="CPU of a change of a session with 3 services", figures=figures)


async def scrapes(app: web.Application, sessions: int, rounds: int) -> FigureTable:
    log_from(logging.ERROR)
    await add_sessions(app[STORE], [f"ses_{number:026}" for number in range(sessions)], time.time())
    figures = [*scrape_figures(app, f"{len(SERVICES)} types, 1 profile", rounds)]
    for number in range(VALUES_MAX):
        app[METRICS].sessions.expect_type(f"type {number}")
        app[METRICS].sessions.expect_profile(f"profile {number}")
    figures += scrape_figures(app, f"{VALUES_MAX} of each, the maximum", rounds)
    return FigureTable(title=f"CPU of a scrape of /metrics with {sessions} sessions", figures=figures)


def scrape_figures(app: web.Application, what: str, rounds: int) -> Iterator[Figure]:
    for kind, accept in (("plain text", "text/plain"), ("OpenMetrics", OPENMETRICS)):
        for work, took in zip(("read", "encoded"), scrape(app, accept, rounds), strict=True):
            yield Figure.of(work, f"{what}, {kind}", took, "ms")


def main() -> None:
    command = BenchmarkCommand("watching", __doc__)
    command.add_size("sessions", SESSIONS, QUICK_SESSIONS)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    asked = command.read()
    command.finish(*asyncio.run(measure(asked.sessions, asked.rounds)))


if __name__ == "__main__":
    main()
