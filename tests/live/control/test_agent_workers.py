"""Agents that LiveKit dispatches: with a worker, without one, with one that takes no job, and with one that comes
later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from livekit import api

from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Refusal
from manager_agent.session.session import Session
from tests.live.agent_worker import agent_worker
from tests.live.conftest import Site, Stack, StartStack
from tests.waiting import eventually

pytestmark = pytest.mark.live

PATIENT = {"ready_timeout": 150, "service_join_timeout": 100}
"""Seconds: a busy machine takes half a minute to start the process of an agent's job."""
ECHO = {"service_id": "echo-agent", "agent_name": "echo-agent", "metadata": {"type": "AGENT"}}


async def register(stack: Stack) -> None:
    async with stack.http.post("/api/v1/microservices/register", json=ECHO) as answer:
        assert answer.status == 201, await answer.text()


async def state_of_echo(stack: Stack) -> str:
    async with stack.http.get("/api/v1/microservices/echo-agent") as answer:
        state: str = (await answer.json())["state"]
        return state


async def dispatches(stack: Stack, room_name: str) -> int:
    found = await stack.livekit.agent_dispatch.list_dispatch(room_name)
    return len([one for one in found if one.agent_name == "echo-agent"])


async def test_agent_without_a_worker_is_never_accepted_and_named_no_worker(
    start_stack: StartStack, site: Site
) -> None:
    stack = await start_stack(site, ready_timeout=16)
    await register(stack)
    body = {"user_identity": "alice", "required_services": ["echo-agent"]}
    async with stack.http.post("/api/v1/sessions", json=body) as answer:
        problem = await answer.json()
    assert (answer.status, problem["services"][0]["reason"]) == (504, "no_worker")
    session = stack.store.get(problem["session_id"])
    assert session.services[0].timeline.accepted is None
    assert await state_of_echo(stack) == "no_worker"
    async with stack.http.get("/metrics") as answer:
        shown = await answer.text()
    assert 'session_manager_registered_services{state="healthy",type="AGENT"} 0.0' in shown
    assert 'session_manager_registered_services{state="no_worker",type="AGENT"} 1.0' in shown


@pytest.mark.parametrize("agent", ["busy_agent", "rejecting_agent"], ids=["above its load threshold", "rejecting"])
async def test_agent_whose_worker_takes_no_job_is_named_no_worker_until_one_does(
    start_stack: StartStack, site: Site, tmp_path: Path, agent: str
) -> None:
    stack = await start_stack(site, **PATIENT)
    await register(stack)
    async with agent_worker(site, tmp_path / "agent.log", f"tests.live.{agent}"):
        asked = await stack.request("echo-agent")
        session_id = asked["session_id"]
        waits = await stack.until(session_id, lambda latest: latest.services[0].current.refusal is Refusal.NO_WORKER)
        assert waits.services[0].timeline.accepted is None
        assert await state_of_echo(stack) == "no_worker"
    async with agent_worker(site, tmp_path / "other.log", "tests.live.idle_agent"):
        ready = await stack.until(session_id, lambda latest: latest.all_ready)
        assert ready.services[0].presence.here
        assert await state_of_echo(stack) == "healthy"


async def test_worker_that_comes_later_gets_the_session(start_stack: StartStack, site: Site, tmp_path: Path) -> None:
    stack = await start_stack(site, **PATIENT)
    await register(stack)
    asked = await stack.request("echo-agent")
    session_id = asked["session_id"]
    waits = await stack.until(session_id, lambda latest: latest.services[0].current.refusal is Refusal.NO_WORKER)
    assert (waits.services[0].state, waits.reason_of(waits.services[0])) == (ServiceState.INVITED, "no_worker")
    async with agent_worker(site, tmp_path / "agent.log", "tests.live.idle_agent"):
        ready = await stack.until(session_id, lambda latest: latest.all_ready)
        assert ready.services[0].presence.here
        assert await dispatches(stack, ready.room_name) == 1
        assert await state_of_echo(stack) == "healthy"


@pytest.mark.parametrize("named", [("agent_name", "room_config"), ("agentName", "roomConfig")], ids=["snake", "camel"])
async def test_stock_agent_parses_its_own_metadata_from_a_token_request(
    start_stack: StartStack, site: Site, tmp_path: Path, named: tuple[str, str]
) -> None:
    agent_name, room_config = named
    stack = await start_stack(site, **PATIENT)
    dialer = {"service_id": "phone-service", "agent_name": "dialer", "metadata": {"type": "AGENT"}}
    async with agent_worker(site, tmp_path / "agent.log", "tests.live.metadata_agent"):
        async with stack.http.post("/api/v1/microservices/register", json=dialer) as answer:
            assert answer.status == 201, await answer.text()
        agent = {agent_name: "dialer", "metadata": json.dumps({"phone_number": "+49 30", "語": "日本語"})}
        asking = asyncio.create_task(stack.http.post("/api/v1/token", json={room_config: {"agents": [agent]}}))
        [session] = await eventually("a session", sessions_of(stack), bool)
        accepted = await stack.until(session.session_id, lambda latest: bool(latest.services[0].timeline.accepted))
        identity = accepted.services[0].identity
        assert (await asking).status == 201

        async def attributes() -> list[dict[str, str]]:
            here: list[api.ParticipantInfo] = await stack.participants(session.room_name)
            return [dict(one.attributes) for one in here if one.identity == identity]

        [shown] = await eventually("the agent's attributes", attributes, lambda seen: bool(seen) and "語" in seen[0])
        assert (shown["phone"], shown["語"]) == ("+49 30", "日本語")


def sessions_of(stack: Stack) -> Callable[[], Awaitable[list[Session]]]:
    async def sessions() -> list[Session]:
        return list(stack.store.list())

    return sessions
