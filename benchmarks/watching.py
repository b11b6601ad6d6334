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
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

import structlog
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from benchmarks.measuring import times
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
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, Event, ParticipantInfo
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store

SESSIONS = 1_000
ROUNDS = 7
INSTANCES = [Chosen(f"service-{number}", f"type {number}") for number in range(3)]
SERVICES = tuple(RequiredService(Requirement(type=instance.type), Attempt(instance)) for instance in INSTANCES)
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Nowhere(io.StringIO):
    """A stream that discards the log."""

    def write(self, text: str) -> int:
        return len(text)


def log_from(level: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


@dataclass(slots=True)
class Watched:
    """A store with its listeners, and the CPU seconds per change in each round."""

    name: str
    store: Store
    level: int
    took: list[float] = field(default_factory=list)

    async def round(self) -> None:
        """Take new sessions through all their states, in turn, and remove them."""
        log_from(self.level)
        ids, now = [f"ses_{number:026}" for number in range(SESSIONS)], time.time()
        course = list(a_course(now))
        begun = time.process_time()
        await add_sessions(self.store, ids, now)
        for event in course:
            for session_id in ids:
                await self.store.update(session_id, event)
        for session_id in ids:
            await self.store.remove(session_id)
        self.took.append((time.process_time() - begun) / (SESSIONS * (len(course) + 2)))


async def add_sessions(store: Store, ids: list[str], now: float) -> None:
    for session_id in ids:
        await store.add(Session(session_id, session_id, User("alice"), now, SERVICES, owner="dev"))


def a_course(at: float) -> Iterator[Event]:
    """The events of a session whose user joins and leaves."""
    yield ev.RoomRequested(at)
    yield ev.ManagerDispatched(at, 1, "sm-manager-1")
    yield ev.RoomCreated(at, "RM_1")
    yield ev.ParticipantSeen(at, ParticipantInfo("sm-manager-1", "PA_manager"))
    for entry in range(len(SERVICES)):
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


def scrape(app: web.Application, accept: str) -> tuple[float, float]:
    """The median CPU seconds to collect all metrics, and to encode them."""
    reading, writing = [], []
    encode, _ = choose_encoder(accept)
    for _ in range(ROUNDS):
        begun = time.process_time()
        collected = Collected(app[METRICS].registry)
        read = time.process_time()
        encode(collected)
        writing.append(time.process_time() - read)
        reading.append(read - begun)
    return median(reading), median(writing)


async def main() -> None:
    app = an_application()
    watched = (
        Watched("no listeners", MemoryStore(SteadyClock()), logging.INFO),
        Watched("all listeners, no logging", app[STORE], logging.ERROR),
        Watched("all listeners, LOG_LEVEL=info", app[STORE], logging.INFO),
    )
    gc.collect()
    gc.disable()  # its pauses do not depend on the listeners
    for _ in range(ROUNDS):
        for one in watched:
            await one.round()
    alone = median(watched[0].took)
    print(f"{SESSIONS} sessions with {len(SERVICES)} services; CPU microseconds per change, median")
    for one in watched:
        print(f"{one.name:<44} {1e6 * median(one.took):6.1f}  {times(median(one.took), alone)}")
    log_from(logging.ERROR)
    await add_sessions(app[STORE], [f"ses_{number:026}" for number in range(SESSIONS)], time.time())
    print(f"\nA scrape of /metrics with {SESSIONS} sessions; CPU milliseconds, median; x a change without listeners")
    print(f"{'':44} {'read':>6}  {'':7} {'encoded'}")
    show_scrapes(app, f"{len(SERVICES)} types, 1 profile", alone)
    for number in range(VALUES_MAX):
        app[METRICS].sessions.expect_type(f"type {number}")
        app[METRICS].sessions.expect_profile(f"profile {number}")
    show_scrapes(app, f"{VALUES_MAX} of each, the maximum", alone)


def show_scrapes(app: web.Application, what: str, alone: float) -> None:
    for kind, accept in (("plain text", "text/plain"), ("OpenMetrics", OPENMETRICS)):
        read, written = scrape(app, accept)
        took = "  ".join(f"{1e3 * seconds:6.1f}  {times(seconds, alone):<7}" for seconds in (read, written))
        print(f"{what + ', ' + kind:<44} {took}".rstrip())


if __name__ == "__main__":
    asyncio.run(main())
