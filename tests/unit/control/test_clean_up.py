"""The end of a session, and the next attempt of a service, are recorded before anyone is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.outbound.invites import InviteError
from manager_agent.registry.registry import Registry
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Refusal
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import TIMEOUT
from tests.unit.control.orchestrators import NoRooms, orchestrator_of
from tests.unit.registries import ANY_ASR, asrs
from tests.unit.virtual_time import in_virtual_time, let_pass, now
from tests.unit.waits import let_others_run, until

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
    registry = Registry(time.time, store.counts, random.Random(0))
    registry.register(asrs(1)[0])
    orchestrator = orchestrator_of(store, registry, EndingRooms(told), AcceptingInviter(told), time.time)
    services = registry.choose([Requirement("asr-1")])
    await orchestrator.open(Session("s1", "room-1", User("alice"), time.time(), services))
    await store.wait_for("s1", lambda session: session.services[0].state is ServiceState.ACCEPTED)
    await orchestrator.close("s1")
    await until(lambda: told, lambda so_far: len(so_far) == 2)
    assert told == ["status", "closed"]
    await orchestrator.aclose()


class SlowRooms(NoRooms):
    """LiveKit takes no record until it is let."""

    def __init__(self) -> None:
        self.takes_records = asyncio.Event()

    async def show_status(self, _: Session) -> None:
        await self.takes_records.wait()

    async def record_specification(self, _: Session) -> None:
        await self.takes_records.wait()


class SecondInviter(AcceptingInviter):
    """The first instance declines."""

    async def invite(self, session: Session, entry: int) -> None:
        attempt = session.services[entry].attempt
        self._told.append(f"attempt {attempt}")
        if attempt == 1:
            raise InviteError(Refusal.DECLINED, "as the test wants it")


@in_virtual_time
async def test_the_next_attempt_waits_for_its_record_and_counts_against_no_service() -> None:
    store, told, rooms = MemoryStore(now), list[str](), SlowRooms()
    registry = Registry(now, store.counts, random.Random(0))
    for service in asrs(2):
        registry.register(service)
    orchestrator = orchestrator_of(store, registry, rooms, SecondInviter(told), now)
    await orchestrator.open(Session("s1", "room-1", User("alice"), now(), registry.choose([ANY_ASR])))
    await store.wait_for("s1", lambda session: session.services[0].attempt == 2)
    await let_pass(TIMEOUT + 2.0)
    assert told == ["attempt 1"]
    rooms.takes_records.set()
    session = await store.wait_for("s1", lambda session: session.services[0].state is ServiceState.ACCEPTED)
    assert (session.services[0].attempt, told) == (2, ["attempt 1", "attempt 2"])
    await orchestrator.pause()
    await orchestrator.aclose()


class DyingRooms(NoRooms):
    """LiveKit answers the request to delete a room only when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.is_asked, self.answers = asyncio.Event(), asyncio.Event()

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        self.is_asked.set()
        await self.answers.wait()
        if self._error is not None:
            raise self._error


async def superseded_while_deleting(rooms: DyingRooms) -> asyncio.Task[Session]:
    """A client's request to close a session, during which another process takes over and then LiveKit answers."""
    store = MemoryStore(time.time)
    registry = Registry(time.time, store.counts, random.Random(0))
    orchestrator = orchestrator_of(store, registry, rooms, AcceptingInviter([]), time.time)
    await orchestrator.open(Session("s1", "room-1", User("alice"), time.time(), ()))
    closing = asyncio.create_task(orchestrator.close("s1"))
    await rooms.is_asked.wait()
    store.freeze()
    orchestrator.step_down()
    await let_others_run()
    assert not closing.done()
    rooms.answers.set()
    await asyncio.wait([closing])
    await orchestrator.pause()
    return closing


async def test_a_client_is_told_of_a_deletion_under_way_when_another_process_took_over() -> None:
    session = (await superseded_while_deleting(DyingRooms())).result()
    assert session.end is not None
    assert session.end.reason == "closed"


async def test_a_client_is_sent_to_the_other_process_if_its_room_was_not_deleted() -> None:
    closing = await superseded_while_deleting(DyingRooms(RuntimeError("refused")))
    assert isinstance(closing.exception(), NotActing)
