"""Sessions over HTTP: creating, waiting, listing, closing, tokens, and ready signals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from manager_agent.control import orchestrator
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.session import EndReason, Session, SessionState
from tests.api.stand_ins import Api, StandInRooms, StartApi
from tests.api.still_sessions import server_tasks
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

TOKEN_FIELDS = {"server_url", "access_token", "token_expires_at"}


# --- asking for one ---------------------------------------------------------------------------------


async def test_session_without_services_is_ready_at_once_with_a_token(api: Api) -> None:
    status, headers, session = await api.open(prefer="", user_name="Alice", room_name="demo", metadata={"lang": "zh"})
    assert (status, session["state"], session["room_name"]) == (201, "ready", "demo")
    assert headers["Location"] == f"/api/v1/sessions/{session['session_id']}"
    assert headers["Cache-Control"] == "no-store"
    claims = jwt.decode(session["access_token"], "secret", algorithms=["HS256"])
    assert (claims["sub"], claims["name"], claims["video"]["room"]) == ("alice", "Alice", "demo")


async def test_session_id_and_room_name_are_generated_when_missing(api: Api) -> None:
    _, _, session = await api.open()
    ulid = session["session_id"].removeprefix("ses_")
    assert re.fullmatch("[0-9A-Z]{26}", ulid)
    assert session["room_name"] == f"room-{ulid.lower()}"


async def test_create_waits_until_the_services_are_ready(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer=""))
    await api.livekit.invited.wait()
    (waiting,) = api.parts.store.list()
    assert (waiting.state, asking.done()) == (SessionState.WAITING, False)
    status, _, answer = await api.say_ready(waiting.session_id, "asr-service")
    assert (status, answer["ok"]) == (200, True)
    status, _, session = await asking
    assert (status, session["services"][0]["ready_by"], session["revision"]) == (201, "http", answer["revision"])


async def test_create_with_respond_async_gets_202_and_the_token_later(api: Api) -> None:
    await api.register("asr-service")
    status, headers, session = await api.open("asr-service")
    assert (status, headers["Preference-Applied"]) == (202, "respond-async")
    assert not TOKEN_FIELDS & session.keys()
    assert api.livekit.rooms == [session["room_name"]]
    path = headers["Location"].removeprefix("/api/v1")
    await api.say_ready(session["session_id"], "asr-service")
    assert (await api.ask("GET", path))[2].keys() >= TOKEN_FIELDS


async def test_create_with_wait_gets_202_after_the_time(api: Api) -> None:
    await api.register("asr-service")
    status, headers, session = await api.open("asr-service", prefer="wait=1")
    assert (status, headers["Preference-Applied"], session["state"]) == (202, "wait=1", "waiting")


async def test_session_not_ready_in_time_is_504_with_reasons_and_no_room(api: Api) -> None:
    await api.register("asr-service", "llm-service")
    asking = asyncio.create_task(api.open("asr-service", "llm-service", prefer="", ready_timeout=2))
    await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    await api.say_ready(session.session_id, "asr-service")
    status, headers, problem = await asking
    assert (status, headers["Content-Type"]) == (504, "application/problem+json")
    reasons = {service["service_id"]: service["reason"] for service in problem["services"]}
    assert reasons == {"asr-service": None, "llm-service": "never_joined"}
    assert api.livekit.rooms == []
    assert "access_token" not in problem


async def test_unregistered_service_is_refused_at_once(api: Api) -> None:
    await api.register("asr-service")
    status, _, problem = await api.open("asr-service", "nobody", {"type": "XYZ", "optional": True})
    assert status == 424
    assert [service["reason"] for service in problem["services"]] == [None, "not_registered", None]
    assert list(api.parts.store.list()) == []


async def test_required_type_selects_a_service_of_that_type(api: Api) -> None:
    await api.register("tts-1", type="TTS")
    _, _, session = await api.open({"type": "TTS"})
    assert session["services"][0]["service_id"] == "tts-1"


async def test_room_name_in_use_is_409_with_retry_after(api: Api) -> None:
    api.livekit.foreign_rooms = {"theirs"}
    await api.open(room_name="demo")
    for room_name in ("demo", "theirs"):
        status, headers, problem = await api.open(room_name=room_name)
        assert (status, problem["type"].rpartition(":")[2]) == (409, "room_name_taken")
        assert 1 <= int(headers["Retry-After"]) <= 30


@pytest.mark.parametrize("prefer", ["", "respond-async"])
async def test_create_without_livekit_is_503_and_leaves_nothing(api: Api, prefer: str) -> None:
    api.livekit.down = True
    status, headers, problem = await api.open(prefer=prefer)
    assert (status, headers["Retry-After"], problem["type"].rsplit(":")[-1]) == (503, "2", "room_unavailable")
    assert "10.0.0.7" not in str(problem)
    assert list(api.parts.store.list()) == []


async def test_disconnected_client_ends_the_session_it_waited_for(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer=""))
    await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    asking.cancel()
    over = await api.until(session.session_id, lambda s: bool(s.end and s.end.cleaned_at))
    assert over.end is not None
    assert over.end.reason is EndReason.CLIENT_GONE
    assert api.livekit.rooms == []


async def test_disconnect_after_a_202_leaves_the_session_open(api: Api) -> None:
    await api.register("asr-service")
    _, _, session = await api.open("asr-service")
    serving = server_tasks()
    await api.http.close()
    async with waiting_for("the server to notice the disconnect", server_tasks):
        await asyncio.wait(serving)
    assert not api.parts.store.get(session["session_id"]).over


async def test_session_closed_during_create_is_409(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer=""))
    await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    await api.ask("DELETE", f"/sessions/{session.session_id}")
    status, _, problem = await asking
    assert (status, problem["reason"]) == (409, "closed")


async def test_limits_attributes_and_grants_of_the_request_are_stored(api: Api) -> None:
    _, _, shown = await api.open(
        ready_timeout=5, max_duration=60, user_attributes={"a": "b"}, user_grants={"can_publish": False}
    )
    session = api.parts.store.get(shown["session_id"])
    assert (session.limits.ready_timeout, session.limits.max_duration) == (5, 60)
    assert (session.user.attributes, session.user.grants) == ({"a": "b"}, {"can_publish": False})
    claims = jwt.decode((await api.ask("GET", f"/sessions/{session.session_id}"))[2]["access_token"], "secret",
                        algorithms=["HS256"])  # fmt: skip
    assert claims["video"]["canPublish"] is False


async def test_max_duration_is_limited_by_session_ttl(start_api: StartApi) -> None:
    api = await start_api(session_ttl=100)
    status, _, problem = await api.open(max_duration=101)
    assert (status, problem["errors"][0]["field"]) == (422, "max_duration")


# --- looking, closing, tokens -----------------------------------------------------------------------


async def test_session_list_has_filters_and_no_tokens(api: Api) -> None:
    await api.register("asr-service")
    ready, waiting = (await api.open())[2], (await api.open("asr-service"))[2]

    async def listed(query: str) -> list[str]:
        status, _, answer = await api.ask("GET", f"/sessions{query}")
        assert status == 200
        assert not any(TOKEN_FIELDS & session.keys() for session in answer["sessions"])
        return [session["session_id"] for session in answer["sessions"]]

    both = [waiting["session_id"], ready["session_id"]]
    assert await listed("") == both
    assert await listed("?state=ready") == both[1:]
    assert await listed("?state=ready&state=waiting") == both
    assert await listed("?service=asr-service") == both[:1]
    assert await listed("?service=other") == []


async def test_session_list_pages_follow_each_other(api: Api) -> None:
    made = [(await api.open())[2]["session_id"] for _ in range(3)]
    _, _, first = await api.ask("GET", "/sessions?limit=2")
    _, _, second = await api.ask("GET", f"/sessions?limit=2&cursor={first['next_cursor']}")
    assert [s["session_id"] for s in first["sessions"] + second["sessions"]] == made[::-1]
    assert second["next_cursor"] is None


async def test_closing_a_session_twice_gives_the_same_answer(api: Api) -> None:
    path = f"/sessions/{(await api.open())[2]['session_id']}"
    status, _, closed = await api.ask("DELETE", path)
    assert (status, closed["state"], closed["reason"]) == (200, "ended", "closed")
    assert (await api.ask("DELETE", path))[2] == closed == (await api.ask("GET", path))[2]
    assert api.livekit.rooms == []


async def test_new_token_is_409_unless_the_session_is_ready(api: Api) -> None:
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    path = f"/sessions/{session_id}/token"
    status, _, problem = await api.ask("POST", path)
    assert (status, problem["state"]) == (409, "waiting")
    await api.say_ready(session_id, "asr-service")
    status, _, session = await api.ask("POST", path)
    assert (status, session.keys() >= TOKEN_FIELDS) == (200, True)
    await api.ask("DELETE", f"/sessions/{session_id}")
    assert (await api.ask("POST", path))[0] == 409


async def test_an_end_that_livekit_does_not_record_is_not_acknowledged(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise LiveKitUnavailable("down")

    _, _, session = await api.open()
    path = f"/sessions/{session['session_id']}"
    with monkeypatch.context() as down:
        down.setattr(StandInRooms, "show_status", unavailable)
        down.setattr(StandInRooms, "delete", unavailable)
        down.setattr(orchestrator, "SETTLE_TIMEOUT", 0.1)
        status, headers, problem = await api.ask("DELETE", path)
        assert (status, problem["type"].rpartition(":")[2]) == (503, "room_unavailable")
        assert headers["Retry-After"]
    await asyncio.sleep(float(headers["Retry-After"]))
    status, _, closed = await api.ask("DELETE", path)
    assert (status, closed["reason"]) == (200, "closed")


@pytest.mark.parametrize(("method", "below"), [("GET", ""), ("DELETE", ""), ("POST", "/token")])
async def test_operations_on_an_unknown_session_are_404(api: Api, method: str, below: str) -> None:
    assert (await api.ask(method, f"/sessions/ses_nope{below}"))[0] == 404


# --- saying that a service is ready -----------------------------------------------------------------


async def test_second_ready_signal_changes_nothing(api: Api) -> None:
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    first = await api.say_ready(session_id, "asr-service")
    assert first[0] == 200
    assert (await api.say_ready(session_id, "asr-service"))[2] == first[2]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer abc", "Bearer a.b.c"])
async def test_ready_signal_without_a_join_token_is_401(api: Api, authorization: str | None) -> None:
    """A caller that sent a bearer token learns that it is invalid (RFC 6750)."""
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    headers = {} if authorization is None else {"Authorization": authorization}
    body = {"service_id": "asr-service"}
    status, answer, _ = await api.ask("POST", f"/sessions/{session_id}/ready", body, headers)
    sent = (authorization or "").startswith("Bearer")
    assert (status, answer["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"' if sent else "Bearer")


async def test_ready_signal_is_accepted_from_the_invited_service_only(api: Api) -> None:
    await api.register("asr-service", "llm-service")
    session_id = (await api.open("asr-service", "llm-service"))[2]["session_id"]
    await api.livekit.invited.wait()
    tokens = dict(api.livekit.invites)
    _, _, users = await api.open(room_name="other")
    other_id = (await api.open("asr-service"))[2]["session_id"]
    for session, service, token, status in [
        (session_id, "asr-service", tokens["llm-service"], 403),
        (session_id, "unheard-of", tokens["asr-service"], 403),
        (session_id, "asr-service", users["access_token"], 404),
        (other_id, "asr-service", tokens["asr-service"], 404),
    ]:
        assert (await api.say_ready(session, service, token))[0] == status
    assert api.parts.store.get(session_id).state is SessionState.WAITING


async def test_service_that_signals_ready_and_never_joins_is_invited_again(start_api: StartApi) -> None:
    """Each such attempt is a failure of the instance, whose signals are no successes in between."""
    api = await start_api(service_join_timeout=2)
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    for attempt in (1, 2):
        await api.until(session_id, has_accepted(attempt))
        assert (await api.say_ready(session_id, "asr-service"))[0] == 200
        lost = await api.until(session_id, lambda session: session.services[0].state is ServiceState.FAILED)
        assert lost.state is SessionState.DEGRADED
        assert lost.reason_of(lost.services[0]) is ServiceReason.NEVER_JOINED
    await api.until(session_id, has_accepted(3))
    (instance,) = api.parts.registry.instances
    assert instance.breaker.failures == 2


def has_accepted(attempt: int) -> Callable[[Session], bool]:
    return lambda session: (session.services[0].attempt, session.services[0].state) == (attempt, ServiceState.ACCEPTED)


async def test_ready_signal_of_a_failed_service_or_ended_session_is_409(api: Api) -> None:
    await api.register("asr-service", "llm-service")
    session_id = (await api.open("asr-service", "llm-service"))[2]["session_id"]
    await api.livekit.invited.wait()
    identity = api.parts.store.get(session_id).services[0].identity
    assert identity is not None
    await api.ask("DELETE", "/microservices/asr-service")  # or it would be invited anew
    failed = ev.ServiceSignalled(api.parts.clock(), identity, ev.Signal.FAILED, ev.Evidence.MESSAGE)
    await api.parts.store.update(session_id, failed)
    status, _, problem = await api.say_ready(session_id, "asr-service")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "service_out")
    await api.ask("DELETE", f"/sessions/{session_id}")
    status, _, problem = await api.say_ready(session_id, "llm-service")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "session_over")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"metadata": {"q": '"' * 8_000}, "user_attributes": {"a": "b" * 8_000}}),
        ("/token", {"participant_metadata": '"' * 16_000, "participant_attributes": {"a": "b" * 8_000}}),
    ],
)
async def test_a_session_whose_token_would_be_too_long_is_not_opened(
    start_api: StartApi, path: str, body: dict[str, Any]
) -> None:
    api = await start_api()
    entry = {"service_id": "asr", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
    assert (await api.ask("POST", "/microservices/register", entry))[0] == 201
    asked: dict[str, Any] = {"user_identity": "alice", "required_services": ["asr"]} | body
    if path == "/token":
        asked = {"room_config": {"agents": [{"agent_name": "asr"}]}} | body
    status, _, problem = await api.ask("POST", path, asked)
    assert (status, problem["type"].rpartition(":")[2]) == (422, "token_too_long"), problem
    assert "40960" in problem["detail"]
    assert list(api.parts.store.list()) == []
