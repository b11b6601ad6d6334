"""The end of a session is recorded before anyone is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.records.memory import MemoryRecords
from manager_agent.registry.registry import Registry
from manager_agent.session.attempt import ServiceState
from manager_agent.session.identities import Identities
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from tests.unit.control.test_control_loop import NoRooms
from tests.unit.registries import asrs
from tests.unit.waits import until

pytestmark = pytest.mark.unit


class EndingRooms(NoRooms):
    """Says when the status of a session that is over is written."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    async def show_status(self, session: Session) -> None:
        if session.over:
            await asyncio.sleep(0.01)
            self._told.append("status")


class AcceptingInviter:
    def __init__(self, told: list[str]) -> None:
        self._told = told

    @asynccontextmanager
    async def slot(self, *about: object) -> AsyncIterator[None]:
        yield

    async def invite(self, session: Session, entry: int) -> None: ...

    async def send_session_ended(self, session: Session, service: RequiredService, reason: str) -> None:
        self._told.append(reason)


async def test_services_are_told_the_end_after_it_is_recorded() -> None:
    store, told = MemoryStore(time.time), list[str]()
    registry = Registry(time.time, store.in_use, random.Random(0))
    registry.register(asrs(1)[0])
    rooms: Any = EndingRooms(told)
    inviter: Any = AcceptingInviter(told)
    orchestrator = Orchestrator(
        store=store,
        rooms=rooms,
        inviter=inviter,
        registry=registry,
        identities=Identities("secret"),
        missed_rooms=MissedRooms(),
        recording=Recording(store),
        records=MemoryRecords(time.time),
        clock=time.time,
    )
    services = registry.choose([Requirement("asr-1")])
    await orchestrator.open(Session("s1", "room-1", User("alice"), time.time(), services))
    await store.wait_for("s1", lambda session: session.services[0].state is ServiceState.ACCEPTED)
    await orchestrator.close("s1")
    await until(lambda: told, lambda so_far: len(so_far) == 2)
    assert told == ["status", "closed"]
    await orchestrator.aclose()
