"""Where the time of a session went, on a real livekit-server: what its timeline and the feed tell of a bot that fails
and is replaced."""

from __future__ import annotations

import json
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from manager_agent.session.session import Session
from session_manager_client import Client
from session_manager_client.models import FeedHealth, FeedSnapshot, SessionInfo
from tests.live.bots import Bot
from tests.live.conftest import Stack

pytestmark = pytest.mark.live


async def timeline(stack: Stack, session_id: str) -> Any:
    async with stack.http.get(f"/api/v1/sessions/{session_id}/timeline") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def is_invited(session: Session) -> bool:
    return session.services[0].timeline.accepted is not None


async def one_that_fails_is_replaced(stack: Stack) -> tuple[dict[str, Any], Bot, Bot]:
    """A session that is ready with its second bot, and both bots in order of their invites."""
    bots = {name: await stack.bot(name, ready_on="signal") for name in ("bot-1", "bot-2")}
    session = await stack.request({"type": "BOT"})
    invited = await stack.until(session["session_id"], is_invited)
    first = bots.pop(invited.services[0].service_id)
    [second] = bots.values()
    await first.join()
    await first.say_failed("no model")
    await second.invited()
    await second.join()
    await second.say_by_rpc()
    await stack.until(session["session_id"], lambda s: s.all_ready and s.manager.joined_at is not None)
    return session, first, second


async def test_timeline_shows_both_attempts_and_their_log_entries(stack: Stack) -> None:
    other = await stack.request()
    session, first, second = await one_that_fails_is_replaced(stack)
    told = await timeline(stack, session["session_id"])
    failed, ready = told["attempts"]
    assert (failed["service_id"], failed["attempt"], failed["state"]) == (first.service_id, 1, "failed")
    assert (failed["reason"], failed["until"]) == ("reported_failure", ready["timeline"]["invited"])
    assert (failed["detail"], ready["detail"]) == ("no model", None)
    assert (ready["service_id"], ready["attempt"], ready["state"]) == (second.service_id, 2, "ready")
    assert (ready["ready_by"], ready["until"], ready["late"]) == ("message", None, None)
    for attempt, last in ((failed, "failed"), (ready, "ready")):
        instants = [attempt["timeline"][name] for name in ("invited", "accepted", "joined", last)]
        assert instants == sorted(instants)
    names = [step["name"] for step in told["steps"]]
    assert names[0] == "requested"
    assert set(names) == {
        "requested", "room_requested", "room_created", "manager_accepted", "manager_joined", "ready"
    }  # fmt: skip
    assert all(earlier["at"] <= later["at"] for earlier, later in pairwise(told["steps"]))
    assert {entry["session_id"] for entry in told["log"]} == {session["session_id"]}
    assert {"session_opened", "service_failed", "service_replaced"} <= {entry["event"] for entry in told["log"]}
    joined = [entry["service_id"] for entry in told["log"] if entry["event"] == "service_joined"]
    assert joined == [first.service_id, second.service_id]
    assert other["session_id"] not in json.dumps(told)
    for bot in (first, second):
        assert str(bot.invites[-1].token) not in json.dumps(told)


async def test_timeline_shows_the_deadline_of_a_missing_service(stack: Stack) -> None:
    await stack.bot("asr", ready_on="signal")
    session = await stack.request("asr")
    await stack.until(session["session_id"], is_invited)
    [attempt] = (await timeline(stack, session["session_id"]))["attempts"]
    assert attempt["late"]["awaited"] == "join"
    assert attempt["late"]["since"] == attempt["timeline"]["accepted"]
    assert attempt["late"]["due"] > attempt["late"]["since"]


async def test_feed_shows_a_service_being_replaced(stack: Stack) -> None:
    """And that LiveKit is up."""
    seen: list[SessionInfo] = []
    async with Client(stack.url) as client, aclosing(client.follow_all()) as events:
        first = await anext(events)
        assert isinstance(first, FeedSnapshot)
        health: FeedHealth = first.health
        session, failed, ready = await one_that_fails_is_replaced(stack)
        async for told in events:
            if isinstance(told, FeedHealth):
                health = told
            if isinstance(told, SessionInfo):
                seen.append(told)
                if told.state == "ready":
                    break
        assert (await client.timeline(session["session_id"])).attempts[0].service_id == failed.service_id
    assert seen[-1].services[0].service_id == ready.service_id
    assert [one.name for one in health.dependencies] == ["livekit"]
    assert {session.session_id for session in seen} == {session["session_id"]}


async def test_server_timing_adds_up_on_a_real_server(stack: Stack) -> None:
    async with stack.http.post("/api/v1/sessions", json={"user_identity": "alice", "required_services": []}) as answer:
        phases = [part.partition(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert phases[0] == "room"
    assert phases[-1] == "total"
