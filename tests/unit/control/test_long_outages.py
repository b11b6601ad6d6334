"""An hour without LiveKit, in virtual time: nothing piles up in the process, and the sessions are still there."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import pytest
import structlog

from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.reconcile import Reconciler
from manager_agent.control.recovery import Recovery
from manager_agent.control.standstill import Standstill
from manager_agent.frozen import replace
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.jobs import PatientConnector
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.livekit.unsigned_api import UnsignedAPI
from manager_agent.records.memory import MemoryRecords
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.session import Limits, Session, SessionState
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import NotRecorded, Recording
from tests.always_acting import always_acting
from tests.unit import sessions as given
from tests.unit.registries import asr
from tests.unit.virtual_time import in_virtual_time, let_pass, now

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("traced")]

MINUTE = 60
HOUR, DAY = 60 * MINUTE, 24 * 60 * MINUTE
SETTLED_AFTER = 20 * MINUTE
"""By then the pauses between tries have grown to their maximum."""
LONG = Limits(ready_timeout=DAY, service_join_timeout=DAY, user_join_timeout=DAY, retention=DAY)
GROWTH_MAX = 64 * 1024
"""Bytes in all: less than the smallest object for each of the thousands of failed calls."""
UNDER_WAY = 10
"""How many more calls may be under way at one moment than at another."""


@pytest.fixture
def traced() -> Iterator[None]:
    """Count the memory of Python objects, and log nothing."""
    configured = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tracemalloc.start()
    yield
    tracemalloc.stop()
    structlog.configure(**configured)


class LostLiveKit:
    """In place of livekit-api and of its HTTP session: every call fails, some only after their timeout."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, _: str) -> LostLiveKit:
        return self

    async def __call__(self, *_: object, **__: object) -> Any:
        self.calls += 1
        if self.calls % 3 == 0:
            await asyncio.sleep(HOUR)
        raise aiohttp.ClientConnectionError("as the test wants it")


class LostRooms(Rooms):
    def __init__(self, lost: LostLiveKit) -> None:
        super().__init__(
            url="ws://livekit.example", services_url="ws://livekit.example", api_key="key", api_secret="secret",
            agent_name="manager", deployment="default", livekit_clock=LiveKitClock(now),
        )  # fmt: skip
        self._lost = lost

    @property
    def _livekit(self) -> UnsignedAPI:
        return cast(UnsignedAPI, self._lost)


@dataclass(frozen=True, slots=True)
class Process:
    """The parts of a session manager that call LiveKit."""

    store: MemoryStore
    rooms: Rooms
    recording: Recording
    orchestrator: Orchestrator


@asynccontextmanager
async def process_of(lost: LostLiveKit) -> AsyncIterator[Process]:
    store, rooms, acting = MemoryStore(now), LostRooms(lost), always_acting()
    recording, missed_rooms = Recording(store), MissedRooms()
    registry = Registry(now, store.counts, random.Random(0))
    registry.register(asr("asr-service"))
    orchestrator = Orchestrator(
        store=store,
        rooms=rooms,
        inviter=cast(Any, None),
        registry=registry,
        identities=Identities("secret"),
        missed_rooms=missed_rooms,
        recording=recording,
        records=MemoryRecords(now),
        acting=acting,
        standstill=Standstill(now),
        clock=now,
    )
    recovery = Recovery(
        records=MemoryRecords(now),
        store=store,
        rooms=rooms,
        orchestrator=orchestrator,
        identities=Identities("secret"),
        acting=acting,
        clock=now,
    )
    reconciler = Reconciler(
        store=store, rooms=rooms, missed_rooms=missed_rooms, recovery=recovery, acting=acting, clock=now
    )
    connecting = asyncio.create_task(
        PatientConnector(cast(aiohttp.ClientSession, lost)).ws_connect("ws://livekit.example")
    )
    for part in (recovery, reconciler):
        await part.start()
    yield Process(store, rooms, recording, orchestrator)
    connecting.cancel()
    for part in (recovery, reconciler):
        await part.aclose()
    await orchestrator.pause()
    await orchestrator.aclose()


def sessions() -> Iterator[Session]:
    """One that waits for its service, one that is ready, one with its user in the room, and one that has just ended."""
    events: dict[SessionState, list[ev.Event]] = {
        SessionState.WAITING: [],
        SessionState.READY: [given.shown("sm-asr-1", "PA_asr", now())],
        SessionState.ACTIVE: [given.shown("sm-asr-1", "PA_asr", now()), given.shown("alice", "PA_alice", now())],
        SessionState.ENDED: [ev.SessionClosed(now())],
    }
    for state, happened in events.items():
        asked = replace(given.a_session(given.JOINS), session_id=str(state), room_name=str(state), limits=LONG)
        session = given.after(asked, *given.watched(now()), *given.invited(0, at=now()), *given.accepted(0, at=now()))
        yield given.after(session, *happened, ev.ManagerFailed(now(), given.MANAGER))


async def refuse_callers(process: Process, until: float) -> None:
    """Callers ask for a session and for a token, again and again."""
    while now() < until:
        await let_pass(5)
        with pytest.raises(LiveKitUnavailable):
            await process.rooms.check()
        with pytest.raises(NotRecorded):
            await process.recording.until_recorded(SessionState.READY)


def in_use() -> tuple[int, int]:
    """Bytes of Python objects, and tasks."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks())


@in_virtual_time
async def test_memory_and_tasks_do_not_grow_in_an_hour_without_livekit() -> None:
    lost = LostLiveKit()
    async with process_of(lost) as process:
        expected = {session.session_id: session.state for session in sessions()}
        for session in sessions():
            await process.orchestrator.resume(session, recorded=session)
            await process.store.update(session.session_id, given.signal("sm-asr-1", ev.Signal.PROGRESS, now()))
        began = now()
        await refuse_callers(process, began + SETTLED_AFTER)
        base_memory, base_tasks = in_use()
        calls = lost.calls
        await refuse_callers(process, began + HOUR)
        memory, tasks = in_use()
        assert lost.calls > calls + HOUR / 2
        assert tasks <= base_tasks + UNDER_WAY
        assert memory - base_memory <= GROWTH_MAX
        assert {session.session_id: session.state for session in process.store.list()} == expected
