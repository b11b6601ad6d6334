"""A dispatched agent is accepted when LiveKit shows its job or it joins, and has no worker when neither comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from manager_agent.control.agent_jobs import JOB_TIMEOUT, AgentJobs
from manager_agent.frozen import replace
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.outbound.invites import InviteError
from manager_agent.session import events as ev
from manager_agent.session.events import Refusal
from manager_agent.session.plan import SendInvite
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.virtual_time import in_virtual_time, now

pytestmark = pytest.mark.unit

INVITE = SendInvite(0, 1, 1)


class Dispatches:
    """The only dispatch of a room: it has a job from `job_at` on; LiveKit says nothing while `is_away`."""

    def __init__(self, job_at: float | None = None, *, is_away: bool = False) -> None:
        self._job_at, self._is_away = job_at, is_away
        self.deleted: list[str] = []

    async def job_identity(self, room_name: str, dispatch_id: str) -> str | None:
        if self._is_away:
            raise LiveKitUnavailable("away")
        return "agent-AJ_1" if self._job_at is not None and now() >= self._job_at else None

    async def delete_dispatch(self, session: Session, dispatch_id: str) -> None:
        self.deleted.append(dispatch_id)


def dispatched(ready_timeout: float = 30.0) -> Session:
    session = given.a_session(given.AGENT)
    session = replace(session, limits=replace(session.limits, ready_timeout=ready_timeout))
    return given.after(session, *given.managed(), ev.InviteStarted(START, 0, 1, 1, None, "inv_0"))


async def waiting(session: Session, dispatches: Dispatches) -> tuple[MemoryStore, asyncio.Task[str | None]]:
    store = MemoryStore(now)
    await store.add(session)
    rooms: Any = dispatches
    jobs = AgentJobs(store, rooms, now)
    return store, asyncio.create_task(jobs.agent_of(session, INVITE, "AD_1"))


@pytest.mark.parametrize("job_at", [START, START + 5.4])
def test_dispatch_with_a_job_tells_the_identity_of_its_agent(job_at: float) -> None:
    @in_virtual_time
    async def run() -> None:
        dispatches = Dispatches(job_at)
        _, found = await waiting(dispatched(), dispatches)
        assert await found == "agent-AJ_1"
        assert dispatches.deleted == []

    run()


@pytest.mark.parametrize(("ready_timeout", "decided"), [(30.0, JOB_TIMEOUT), (4.0, 4.0)])
def test_dispatch_without_a_job_is_deleted_and_has_no_worker(ready_timeout: float, decided: float) -> None:
    @in_virtual_time
    async def run() -> None:
        dispatches = Dispatches()
        _, found = await waiting(dispatched(ready_timeout), dispatches)
        with pytest.raises(InviteError) as refused:
            await found
        assert refused.value.why is Refusal.NO_WORKER
        assert decided - 1 < now() - START <= decided
        assert dispatches.deleted == ["AD_1"]

    run()


@in_virtual_time
async def test_agent_that_joins_was_found_though_its_dispatch_shows_no_job() -> None:
    dispatches = Dispatches()
    store, found = await waiting(dispatched(), dispatches)
    await asyncio.sleep(0.2)
    joined = given.seen("agent-1", "PA_1", now(), is_agent=True, attributes={"lk.agent.name": "bot"})
    await store.update("s1", joined)
    assert await found == "agent-1"
    assert (now() - START < 0.3, dispatches.deleted) == (True, [])


@in_virtual_time
async def test_dispatch_that_livekit_says_nothing_about_is_left_alone() -> None:
    dispatches = Dispatches(is_away=True)
    _, found = await waiting(dispatched(), dispatches)
    assert await found is None
    assert dispatches.deleted == []


@in_virtual_time
async def test_session_that_is_over_no_longer_waits_for_a_job() -> None:
    dispatches = Dispatches()
    store, found = await waiting(dispatched(), dispatches)
    await store.update("s1", ev.SessionClosed(now()))
    assert await found is None
    assert (now() - START < 1, dispatches.deleted) == (True, [])
