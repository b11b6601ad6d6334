"""What counts against an instance, and the log context of what is done for a session."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from manager_agent.control.session_log import log_changes
from manager_agent.outbound.invites import InviteError
from manager_agent.registry.circuit_breaker import FAILURES_MAX
from manager_agent.registry.instances import InstanceState
from manager_agent.registry.registry import Registry
from manager_agent.session.events import Refusal
from manager_agent.session.required_service import Requirement
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from tests.unit.control.orchestrators import NoRooms, orchestrator_of
from tests.unit.registries import ANY_ASR, asrs

pytestmark = pytest.mark.unit


class RefusingInviter:
    """Services that refuse every invite."""

    def __init__(self, why: Refusal) -> None:
        self._why = why

    @asynccontextmanager
    async def slot(self, *about: object) -> AsyncIterator[None]:
        yield

    async def invite(self, session: Session, entry: int) -> None:
        raise InviteError(self._why, "as the test wants it")

    async def send_session_ended(self, *about: object) -> None: ...


@pytest.mark.parametrize(
    ("why", "state"), [(Refusal.DECLINED, InstanceState.HEALTHY), (Refusal.UNREACHABLE, InstanceState.SUSPENDED)]
)
async def test_an_instance_is_suspended_for_not_answering_and_not_for_being_full(
    why: Refusal, state: InstanceState
) -> None:
    store = MemoryStore(time.time)
    registry = Registry(time.time, store.in_use, random.Random(0))
    for service in asrs(2):
        registry.register(service)
    inviter = RefusingInviter(why)
    orchestrator = orchestrator_of(store, registry, NoRooms(), inviter, time.time)
    chosen = [registry.choose([Requirement("asr-1")]) for _ in range(FAILURES_MAX)]
    for n, services in enumerate(chosen):
        await orchestrator.open(Session(f"s{n}", f"room-{n}", User("alice"), time.time(), services))
        await store.wait_for(f"s{n}", lambda session: session.services[0].current.refusal is why)
    assert registry.status("asr-1").state is state
    await orchestrator.aclose()


async def test_work_for_a_session_is_logged_with_the_request_that_opened_it() -> None:
    """As `opened_by`, not as part of it: that request is long over. A session opened without a request has none."""
    store = MemoryStore(time.time)
    store.listen(log_changes)
    registry = Registry(time.time, store.in_use, random.Random(0))
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
