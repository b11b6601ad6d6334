"""The timeline of a session over HTTP: its attempts and why they failed, what is missing, what was logged; and
the header that says where the time went."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from http_api.observability.logs.recent import PER_SESSION
from http_api.settings.settings import Settings
from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, ReadyOn, Refusal
from session_manager_client import ApiError, Client
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import StillSession, still_session
from tests.tenants import ACME, OPERATOR, RIVAL, production

pytestmark = pytest.mark.api


@pytest.fixture
async def still(api: Api) -> AsyncIterator[StillSession]:
    async with still_session(api) as session:
        yield session


async def timeline(still: StillSession) -> Any:
    status, headers, told = await still.api.ask("GET", f"{still.path}/timeline")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    return told


def phases(header: str) -> dict[str, float]:
    """Milliseconds of each phase, by its name."""
    told = dict(part.split(";")[:2] for part in header.split(", "))
    return {name: float(took.removeprefix("dur=")) for name, took in told.items()}


async def test_timeline_shows_steps_and_what_each_attempt_waits_for(still: StillSession) -> None:
    told = await timeline(still)
    [listed] = (await still.api.ask("GET", "/sessions"))[2]["sessions"]
    shared = told.keys() & listed.keys()
    assert shared == {
        "session_id", "room_name", "state", "reason", "revision", "created_at", "ready_at", "ready_deadline", "ended_at"
    }  # fmt: skip
    assert {name: told[name] for name in shared} == {name: listed[name] for name in shared}
    names = ["requested", "room_requested", "room_created", "manager_accepted", "manager_joined"]
    assert [step["name"] for step in told["steps"]] == names
    [attempt] = told["attempts"]
    assert (attempt["entry"], attempt["attempt"], attempt["tries"], attempt["until"]) == (0, 1, 1, None)
    assert (attempt["service_id"], attempt["type"], attempt["optional"]) == ("asr-service", "ASR", False)
    assert (attempt["state"], attempt["reason"], attempt["ready_by"]) == ("invited", None, None)
    late = {"awaited": "accept", "since": attempt["timeline"]["invited"], "due": told["ready_deadline"]}
    late["retry_at"] = None
    assert (attempt["late"], told["trace_id"]) == (late, None)
    assert datetime.fromisoformat(told["now"]) >= datetime.fromisoformat(told["created_at"])


async def test_timeline_shows_a_replaced_attempt_with_its_reason(still: StillSession) -> None:
    now = still.api.parts.clock()
    other = Chosen("asr-2", "ASR", "http://127.0.0.1:2/", None, ReadyOn.JOIN)
    await still.happens(
        ev.InviteRefused(now, 0, 1, 1, Refusal.DECLINED, final=True),
        ev.InviteStarted(now + 0.2, 0, 2, 1, "sm-asr-2", "inv_2", instead=other),
    )
    first, second = (await timeline(still))["attempts"]
    assert (first["service_id"], first["state"], first["reason"]) == ("asr-service", "failed", "declined")
    assert (first["until"], first["late"]) == (second["timeline"]["invited"], None)
    assert (second["service_id"], second["attempt"], second["until"]) == ("asr-2", 2, None)
    assert second["late"]["awaited"] == "accept"


async def test_detail_of_a_reported_failure_is_in_the_session_and_its_timeline(still: StillSession) -> None:
    now, said = still.api.parts.clock(), "the model can't be loaded"
    await still.happens(ev.ServiceSignalled(now, "sm-asr-1", ev.Signal.FAILED, ev.Evidence.MESSAGE, said))
    [service] = (await still.api.ask("GET", still.path))[2]["services"]
    assert (service["reason"], service["detail"]) == ("reported_failure", said)
    [attempt] = (await timeline(still))["attempts"]
    assert (attempt["reason"], attempt["detail"]) == ("reported_failure", said)
    async with Client(f"http://127.0.0.1:{still.api.port}") as client:
        await still.ends()
        with pytest.raises(ApiError, match=said):
            await client.until_ready(still.session_id)


async def test_timeline_of_an_ended_session_waits_for_nothing(still: StillSession) -> None:
    await still.ends()
    told = await timeline(still)
    assert (told["steps"][-1], told["reason"]) == ({"name": "ended", "at": told["ended_at"]}, "closed")
    [attempt] = told["attempts"]
    assert (attempt["reason"], attempt["late"]) == ("never_joined", None)


async def test_timeline_has_the_log_entries_of_its_session_only(api: Api) -> None:
    await api.register("asr-service")
    session, other = [(await api.open("asr-service", user_identity=name))[2] for name in ("bob", "carol")]
    await api.say_ready(session["session_id"], "asr-service")
    log = (await api.ask("GET", f"/sessions/{session['session_id']}/timeline"))[2]["log"]
    assert {entry["session_id"] for entry in log} == {session["session_id"]}
    assert {"session_opened", "room_created", "service_accepted"} <= {entry["event"] for entry in log}
    for entry in log:
        assert {"timestamp", "level", "event", "logger"} <= entry.keys()
    assert [entry["timestamp"] for entry in log] == sorted(entry["timestamp"] for entry in log)
    assert len(log) <= PER_SESSION
    assert other["session_id"] not in json.dumps(log)


async def test_log_entries_are_forgotten_with_the_session(api: Api) -> None:
    session_id = (await api.open())[2]["session_id"]
    await api.ask("DELETE", f"/sessions/{session_id}")
    path = f"/sessions/{session_id}/timeline"
    assert (await api.ask("GET", path))[2]["log"]
    await api.parts.store.remove(session_id)
    assert (await api.ask("GET", path))[0] == 404


async def test_timeline_log_is_shown_to_admins_only(
    start_api: StartApi,
) -> None:
    api = await start_api(Settings, **production())
    body = {"user_identity": "alice", "required_services": []}
    _, _, session = await api.ask("POST", "/sessions", body, ACME.proof)
    path = f"/sessions/{session['session_id']}/timeline"
    _, _, owners = await api.ask("GET", path, headers=ACME.proof)
    _, _, operators = await api.ask("GET", path, headers=OPERATOR.proof)
    assert (owners["log"], owners["steps"]) == (None, operators["steps"])
    assert operators["log"]
    for told in (owners, operators):
        assert session["access_token"] not in json.dumps(told)
    assert (await api.ask("GET", path, headers=RIVAL.proof))[0] == 404
    assert (await api.ask("GET", "/sessions/ses_nope/timeline", headers=OPERATOR.proof))[0] == 404


# --- where the time went ------------------------------------------------------------------------------


async def test_server_timing_shows_the_phases_of_a_ready_session(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer=""))
    await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    await api.say_ready(session.session_id, "asr-service")
    status, headers, _ = await asking
    told = phases(headers["Server-Timing"])
    assert (status, list(told)) == (201, ["room", "invite", "join", "ready", "total"])
    assert sum(told.values()) - told["total"] <= told["total"] + 1, (
        "each phase begins after the one before, but for rounding"
    )


async def test_server_timing_shows_the_known_phases_of_an_unready_session(start_api: StartApi) -> None:
    api = await start_api(ready_timeout=1)
    await api.register("asr-service")
    status, headers, _ = await api.open("asr-service")
    assert (status, next(iter(phases(headers["Server-Timing"])))) == (202, "room")
    status, headers, _ = await api.open("asr-service", prefer="")
    told = phases(headers["Server-Timing"])
    assert (status, "ready" in told, told["total"] >= 1_000) == (504, False, True)


async def test_server_timing_is_readable_by_allowed_origins(start_api: StartApi) -> None:
    origin = "https://app.example.com"
    api = await start_api(cors_origins=(origin,))
    for sent, allowed in (({"Origin": origin}, origin), ({"Origin": "https://evil.example.com"}, None), ({}, None)):
        body = {"user_identity": "alice", "required_services": []}
        _, headers, _ = await api.ask("POST", "/sessions", body, sent)
        assert headers.get("Timing-Allow-Origin") == allowed
        assert ("Server-Timing" in headers.get("Access-Control-Expose-Headers", "")) == (allowed is not None)
