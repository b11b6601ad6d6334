"""What counts against an instance, and the log context of what is done for a session."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from manager_agent.control.action_io import MANAGER_AWAITED
from manager_agent.control.session_log import log_changes
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.server_api import Listing
from manager_agent.outbound.invites import InviteError
from manager_agent.registry.circuit_breaker import FAILURES_MAX
from manager_agent.registry.instances import InstanceState
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.deadlines import SILENCE_MAX
from manager_agent.session.events import ParticipantInfo, Refusal
from manager_agent.session.plan import LISTING_INTERVAL, THAW_GRACE
from manager_agent.session.required_service import Requirement
from manager_agent.session.session import EndReason, Limits, Session, SessionState, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Change
from tests.unit.control.orchestrators import NoRooms, orchestrator_of
from tests.unit.registries import ANY_ASR, asrs
from tests.unit.virtual_time import in_virtual_time, let_pass, now, stand_still

pytestmark = pytest.mark.unit


class RefusingInviter:
    """Services that refuse every invite."""

    def __init__(self, why: Refusal, *, is_livekits: bool = False) -> None:
        self._why, self._is_livekits = why, is_livekits

    @asynccontextmanager
    async def slot(self, *about: object) -> AsyncIterator[None]:
        yield

    async def invite(self, session: Session, entry: int) -> None:
        raise InviteError(self._why, "as the test wants it", is_livekits=self._is_livekits)

    async def send_session_ended(self, *about: object) -> None: ...


@pytest.mark.parametrize(
    ("why", "is_livekits", "state"),
    [
        (Refusal.DECLINED, False, InstanceState.HEALTHY),
        (Refusal.UNREACHABLE, False, InstanceState.SUSPENDED),
        (Refusal.UNREACHABLE, True, InstanceState.HEALTHY),
    ],
    ids=["full", "not answering", "LiveKit fails"],
)
async def test_an_instance_is_suspended_for_not_answering_and_for_nothing_else(
    why: Refusal, is_livekits: bool, state: InstanceState
) -> None:
    store = MemoryStore(time.time)
    registry = Registry(time.time, store.counts, random.Random(0))
    for service in asrs(2):
        registry.register(service)
    inviter = RefusingInviter(why, is_livekits=is_livekits)
    orchestrator = orchestrator_of(store, registry, NoRooms(), inviter, time.time)
    chosen = [registry.choose([Requirement("asr-1")]) for _ in range(FAILURES_MAX)]
    for n, services in enumerate(chosen):
        await orchestrator.open(Session(f"s{n}", f"room-{n}", User("alice"), time.time(), services))
        await store.wait_for(f"s{n}", lambda session: session.services[0].current.tries > 1)
    assert registry.status("asr-1").state is state
    await orchestrator.aclose()


class FreezingInviter(RefusingInviter):
    """The process stands still during the first invite, so that its answer comes too late."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.tries = 0

    async def invite(self, session: Session, entry: int) -> None:
        self.tries += 1
        if self.tries == 1:
            stand_still(30.0)
            await super().invite(session, entry)


@pytest.mark.parametrize(("why", "attempt"), [(Refusal.UNREACHABLE, 1), (Refusal.DECLINED, 2)])
@in_virtual_time
async def test_service_is_invited_again_if_the_process_stood_still_during_the_invite(
    why: Refusal, attempt: int
) -> None:
    async with going_on() as standstill:
        store = MemoryStore(now)
        registry = Registry(now, store.counts, random.Random(0))
        for service in asrs(2):
            registry.register(service)
        inviter = FreezingInviter(why)
        orchestrator = orchestrator_of(store, registry, NoRooms(), inviter, now, standstill)
        await orchestrator.open(Session("s1", "room-1", User("alice"), now(), registry.choose([ANY_ASR])))
        session = await store.wait_for("s1", lambda latest: latest.services[0].timeline.accepted is not None)
        assert (inviter.tries, session.services[0].attempt) == (2, attempt)
        await orchestrator.aclose()


class OvertakenStore(MemoryStore):
    """Each session is closed, as by another replica, at the moment at which its room is requested."""

    async def change(self, session_id: str, event: ev.Event) -> Change:
        if isinstance(event, ev.RoomRequested):
            await super().change(session_id, ev.SessionClosed(event.at))
        return await super().change(session_id, event)


class CountedRooms(NoRooms):
    created = 0

    async def create(self, session: Session, *, patience: float) -> str:
        self.created += 1
        return await super().create(session, patience=patience)


async def test_an_action_whose_beginning_changed_nothing_is_not_done() -> None:
    store, rooms = OvertakenStore(time.time), CountedRooms()
    registry, inviter = Registry(time.time, store.counts, random.Random(0)), RefusingInviter(Refusal.DECLINED)
    orchestrator = orchestrator_of(store, registry, rooms, inviter, time.time)
    await orchestrator.open(Session("s1", "room-1", User("alice"), time.time()))
    await store.wait_for("s1", lambda session: session.is_cleaned_up)
    await orchestrator.aclose()
    assert rooms.created == 0


class WatchedRooms(NoRooms):
    """Rooms with those who are in `listing`."""

    def __init__(self) -> None:
        self.listing = Listing((), ())

    async def list_participants(self, _: str) -> Listing:
        return self.listing


@asynccontextmanager
async def going_on() -> AsyncIterator[Standstill]:
    standstill = Standstill(now)
    await standstill.start()
    yield standstill
    await standstill.aclose()


@pytest.mark.parametrize("frozen_until", [-1.0, 0.5, 60.0], ids=["before the end", "just after it", "long after it"])
@pytest.mark.parametrize("user_comes", [True, False])
@in_virtual_time
async def test_process_that_stood_still_looks_before_it_finds_the_user_missing(
    user_comes: bool, frozen_until: float
) -> None:
    async with going_on() as standstill:
        store, rooms = MemoryStore(now), WatchedRooms()
        registry = Registry(now, store.counts, random.Random(0))
        inviter = RefusingInviter(Refusal.DECLINED)
        orchestrator = orchestrator_of(store, registry, rooms, inviter, now, standstill)
        await orchestrator.open(Session("s1", "room-1", User("alice"), now(), ()))
        session = await store.wait_for("s1", lambda latest: latest.state is SessionState.READY)
        if user_comes:
            rooms.listing = Listing((ParticipantInfo("alice", "PA_1", round(now() * 1e3)),), ())
        stand_still(session.limits.user_join_timeout + frozen_until)
        await let_pass(THAW_GRACE + 1.0)
        session = store.get("s1")
        assert session.state is (SessionState.ACTIVE if user_comes else SessionState.ENDED)
        await orchestrator.aclose()


class DeadRooms(WatchedRooms):
    """The node that has the rooms is dead, and they stay listed."""

    async def is_answering(self, room_name: str) -> bool:
        return False


@in_virtual_time
async def test_room_of_a_dead_node_is_closed_while_services_are_awaited() -> None:
    store, rooms = MemoryStore(now), DeadRooms()
    registry = Registry(now, store.counts, random.Random(0))
    for service in asrs(2):
        registry.register(service)
    orchestrator = orchestrator_of(store, registry, rooms, RefusingInviter(Refusal.DECLINED), now)
    limits, services = Limits(ready_timeout=600.0), registry.choose([ANY_ASR])
    await orchestrator.open(Session("s1", "room-1", User("alice"), now(), services, limits=limits))
    session = await store.wait_for("s1", lambda latest: latest.over)
    assert session.end is not None
    assert session.end.reason is EndReason.ROOM_CLOSED
    assert session.end.at - session.created_at < MANAGER_AWAITED + SILENCE_MAX + LISTING_INTERVAL
    await orchestrator.aclose()


async def test_work_for_a_session_is_logged_with_the_request_that_opened_it() -> None:
    """As `opened_by`, not as part of it: that request is long over. A session opened without a request has none."""
    store = MemoryStore(time.time)
    store.listen(log_changes)
    registry = Registry(time.time, store.counts, random.Random(0))
    for service in asrs(2):
        registry.register(service)
    inviter = RefusingInviter(Refusal.UNREACHABLE)
    orchestrator = orchestrator_of(store, registry, NoRooms(), inviter, time.time)
    services = registry.choose([ANY_ASR])
    with capture_logs(processors=[merge_contextvars]) as logs:
        with bound_contextvars(request_id="req_1", principal="frontend"):
            await orchestrator.open(Session("s1", "room-1", User("alice"), time.time(), services))
        await orchestrator.open(Session("s2", "room-2", User("bob"), time.time()))
        await store.wait_for("s1", lambda session: session.services[0].attempt > 1)
        await orchestrator.close("s1")
    of_the_request = [entry["event"] for entry in logs if entry.get("request_id") == "req_1"]
    assert of_the_request == ["session_opened"]
    afterwards = {entry["event"]: entry for entry in logs if entry.get("opened_by") == "req_1"}
    told = {"room_created", "service_invited", "invite_refused", "service_replaced", "session_cleaned_up"}
    assert afterwards.keys() >= told
    assert {entry["session_id"] for entry in afterwards.values()} == {"s1"}
    assert not any("caller" in entry for entry in afterwards.values())
    assert afterwards["service_replaced"]["reason"] == "unreachable"
    assert [entry["event"] for entry in logs if entry.get("session_id") == "s2" and "opened_by" in entry] == []
    await orchestrator.aclose()
