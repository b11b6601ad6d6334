"""A replica that drains hands its sessions over to the others, and says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from http_api.cli import app as commands
from manager_agent.session import events as ev
from tests.api.replicas.conftest import StartReplica, StoppableApi
from tests.api.stand_ins import Api
from tests.redis_server import RedisServer
from tests.unit.sessions import seen
from tests.waiting import eventually

pytestmark = pytest.mark.api


def owner_of(api: Api, session_id: str) -> str:
    replica = api.parts.replica
    assert replica is not None
    return replica.shared.store.ownership(session_id).owner


async def both_are_known(a: Api, b: Api) -> bool:
    shown = [(await api.ask("GET", "//health"))[2]["replicas"] for api in (a, b)]
    return all(len(replicas) == 2 for replicas in shown)


async def a_settled_session(api: Api) -> str:
    """The id of a session whose manager has been in the room for a while."""
    session_id = str((await api.open())[2]["session_id"])
    store, then = api.parts.store, api.parts.clock() - 60.0
    identity = store.get(session_id).manager.identity
    assert identity is not None
    await store.update(session_id, ev.JobAccepted(then, identity))
    await store.update(session_id, seen(identity, "PA_manager", then))
    return session_id


async def test_sessions_are_handed_over_and_readyz_says_that_it_drains(a: Api, b: Api) -> None:
    await eventually("both replicas", lambda: both_are_known(a, b))
    session_id = await a_settled_session(a)
    status, _, draining = await a.ask("POST", "/replicas/drain")
    assert (status, draining["replica_id"]) == (202, a.parts.acting.id)
    status, _, problem = await a.ask("GET", "//readyz")
    assert (status, "hands its sessions over" in problem["detail"]) == (503, True)

    async def is_handed_over() -> bool:
        return owner_of(b, session_id) == b.parts.acting.id

    await eventually("the session is handed over", is_handed_over)
    for api in (a, b):
        assert (await api.ask("GET", f"/sessions/{session_id}"))[2]["state"] == "ready"


async def test_drain_command_waits_until_no_session_is_left(a: Api, b: Api) -> None:
    await eventually("both replicas", lambda: both_are_known(a, b))
    session_id = await a_settled_session(a)
    asked = ["drain", "--url", f"http://127.0.0.1:{a.port}", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, commands, asked)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"replica_id": a.parts.acting.id, "sessions": 1, "left": 0}
    assert owner_of(b, session_id) == b.parts.acting.id


async def test_a_single_process_cannot_drain(start_api: Any) -> None:
    api = await start_api()
    status, _, problem = await api.ask("POST", "/replicas/drain")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "no_replicas")


async def test_a_replica_that_stops_leaves_its_sessions_to_the_other(
    start_replica: StartReplica, redis_server: RedisServer, a: StoppableApi
) -> None:
    """Those that it could not hand over in time are taken over at once."""
    session_id = (await a.open())[2]["session_id"]
    b = await start_replica(redis_server)
    assert owner_of(b, session_id) == a.parts.acting.id
    await a.stop()

    async def is_taken_over() -> bool:
        return owner_of(b, session_id) == b.parts.acting.id

    await eventually("the session is taken over", is_taken_over)
    assert (await b.ask("DELETE", f"/sessions/{session_id}"))[0] == 200
