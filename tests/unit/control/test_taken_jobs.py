"""When the process that dispatches a manager takes its job, before LiveKit offers it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.join_slots import JoinsUnderWay, NewSessions
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.session import PROMPT, Limits, Session, User
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.control.orchestrators import NoRooms, orchestrator_of
from tests.unit.virtual_time import in_virtual_time, let_pass, now

pytestmark = pytest.mark.unit

LONG = Limits(user_join_timeout=3_600.0)


class DispatchedRooms(NoRooms):
    """Rooms that no manager joins. LiveKit is away when the `refused` managers are dispatched."""

    def __init__(self, *refused: int) -> None:
        self._refused = refused
        self.dispatched: list[int] = []

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        self.dispatched.append(session.manager.attempt)
        return "RM_1"

    async def dispatch_manager(self, session: Session, attempt: int) -> None:
        if attempt in self._refused:
            raise LiveKitUnavailable("as the test wants it")
        self.dispatched.append(attempt)


class TakenJobs:
    """Takes no job, but remembers which it could have taken."""

    def __init__(self, rooms: DispatchedRooms) -> None:
        self._rooms = rooms
        self.attempts: list[int] = []

    async def take(self, session: Session) -> None:
        attempt = session.manager.attempt
        assert session.room.created_at is not None
        assert attempt in self._rooms.dispatched, "the next process reads in the dispatches which identities are spent"
        self.attempts.append(attempt)


def a_session() -> Session:
    return Session("s1", "room-1", User("alice"), now(), (), limits=LONG)


class AwaitedRooms(DispatchedRooms):
    """Rooms that are made once `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        await self.go_on.wait()
        return await super().create(session, patience=patience)


def orchestrated(store: MemoryStore, rooms: DispatchedRooms, jobs: TakenJobs) -> Any:
    return orchestrator_of(store, Registry(now, store.counts, random.Random(0)), rooms, None, now, take_job=jobs.take)


@pytest.mark.parametrize("refused", [(), (3,), (2, 4)])
@in_virtual_time
async def test_job_is_taken_once_livekit_has_its_dispatch(refused: tuple[int, ...]) -> None:
    """And every second one in a row is left to LiveKit, which offers it."""
    store, rooms = MemoryStore(now), DispatchedRooms(*refused)
    jobs = TakenJobs(rooms)
    orchestrator = orchestrated(store, rooms, jobs)
    await orchestrator.open(a_session())
    session = await store.wait_for("s1", lambda latest: latest.manager.attempt == 7)
    await let_pass(0.1)
    assert session.manager.fruitless == 7
    assert jobs.attempts == [attempt for attempt in (1, 3, 5, 7) if attempt not in refused]
    await orchestrator.aclose()


@in_virtual_time
async def test_who_waits_for_the_room_is_told_before_the_job_is_taken() -> None:
    store, rooms = MemoryStore(now), DispatchedRooms()
    jobs = TakenJobs(rooms)
    orchestrator = orchestrated(store, rooms, jobs)
    await orchestrator.open(a_session())
    assert jobs.attempts == []
    await let_pass(0.1)
    assert jobs.attempts == [1]
    await orchestrator.aclose()


@in_virtual_time
async def test_job_is_left_to_livekit_if_the_room_may_not_have_its_dispatch() -> None:
    """Another process has asked for the room: LiveKit may have it, with the dispatch of the first manager."""
    store, rooms = MemoryStore(now), DispatchedRooms()
    jobs = TakenJobs(rooms)
    orchestrator = orchestrated(store, rooms, jobs)
    await store.add(a_session())
    await store.update("s1", ev.RoomRequested(now()))
    await store.update("s1", ev.ManagerDispatched(now(), 1, given.MANAGER))
    await orchestrator.take_over("s1", manager_at=now())
    await store.wait_for("s1", lambda latest: latest.manager.attempt == 4)
    await let_pass(0.1)
    assert jobs.attempts == [4]
    await orchestrator.aclose()


async def passed_by(new_sessions: NewSessions) -> bool:
    """Whether a join would begin now."""
    began = now()
    await new_sessions.pass_by(0.05)
    return now() == began


@in_virtual_time
async def test_joins_wait_while_a_room_is_being_made() -> None:
    store, rooms, new_sessions = MemoryStore(now), AwaitedRooms(), NewSessions()
    registry = Registry(now, store.counts, random.Random(0))
    orchestrator = orchestrator_of(store, registry, rooms, None, now, new_sessions=new_sessions)
    opening = asyncio.create_task(orchestrator.open(a_session()))
    await let_pass(0.1)
    assert not await passed_by(new_sessions)
    rooms.go_on.set()
    await opening
    await let_pass(0.1)
    assert await passed_by(new_sessions)
    await orchestrator.aclose()


@in_virtual_time
async def test_joins_do_not_wait_for_a_session_that_another_process_acts_for() -> None:
    store, new_sessions = MemoryStore(now), NewSessions()
    registry = Registry(now, store.counts, random.Random(0))
    orchestrator = orchestrator_of(store, registry, AwaitedRooms(), None, now, new_sessions=new_sessions)
    opening = asyncio.create_task(orchestrator.open(a_session()))
    await let_pass(0.1)
    assert not await passed_by(new_sessions)
    orchestrator.let_go("s1")
    await let_pass(0.1)
    assert await passed_by(new_sessions)
    opening.cancel()
    await orchestrator.aclose()


class DeletedRooms(DispatchedRooms):
    """Notes which rooms are deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[str] = []

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        self.deleted.append(room_name)


@in_virtual_time
async def test_a_room_is_deleted_once_no_manager_of_its_session_is_joining() -> None:
    store, rooms, joins = MemoryStore(now), DeletedRooms(), JoinsUnderWay()
    orchestrator = orchestrator_of(store, Registry(now, store.counts, random.Random(0)), rooms, None, now, joins=joins)
    await orchestrator.open(a_session())
    with joins.of("s1"):
        await store.update("s1", ev.SessionClosed(now()))
        await let_pass(PROMPT + 0.5)
        assert rooms.deleted == []
    cleaned = await store.wait_for("s1", lambda latest: latest.is_cleaned_up)
    assert rooms.deleted == ["room-1"]
    assert cleaned.end is not None
    assert cleaned.end.was_cleaned_promptly, "its owner may use the name at once"
    await orchestrator.aclose()
