"""A session from the request to its end, on a real livekit-server: answers, tokens, deadlines, ends, status."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import jwt
import pytest
from livekit import api

from manager_agent.session import retries
from manager_agent.session.session import EndReason, SessionState
from tests.live.conftest import SECRET, Site, Stack, StartStack
from tests.live.humans import Human, over, ready_session
from tests.live.managers import is_watched
from tests.names import NAMES

pytestmark = pytest.mark.live


async def test_token_comes_when_all_services_are_ready(stack: Stack) -> None:
    asr, llm = await stack.bot("asr"), await stack.bot("llm")
    user = {"user_identity": "alice", "user_name": "Alice"}
    body = {**user, "metadata": {"lang": "de"}, "required_services": ["asr", "llm"]}
    asking = asyncio.create_task(stack.http.post("/api/v1/sessions", json=body))
    invite, _ = await asyncio.gather(asr.invited(), llm.invited())
    assert invite.session.metadata == {"lang": "de"}
    assert invite.session.user_identity == "alice"
    await asr.join()
    await stack.until(invite.session.session_id, lambda s: s.services[0].ready_by is not None)
    view = await stack.view(invite.session.session_id)
    assert (view["state"], "access_token" in view, asking.done()) == ("waiting", False, False)
    await llm.join()
    async with await asking as answer:
        session = await answer.json()
    assert answer.status == 201
    assert answer.headers["Location"].endswith(session["session_id"])
    assert session["state"] == "ready"
    assert session["access_token"]
    assert session["server_url"] == stack.site.livekit.url


async def test_token_joins_the_room_as_its_user_only(stack: Stack) -> None:
    """The token admits a STANDARD participant with one identity to one room, without admin grants."""
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot, user_name="Alice", metadata={"plan": "gold"})
    claims = jwt.decode(session["access_token"], SECRET, algorithms=["HS256"])
    assert claims["sub"] == "alice"
    assert claims["video"] == {
        "roomJoin": True,
        "room": session["room_name"],
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    assert claims.get("kind", "standard") == "standard"
    human = Human()
    await human.join(session)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
    [alice] = [p for p in await stack.participants(session["room_name"]) if p.identity == "alice"]
    assert alice.kind == api.ParticipantInfo.Kind.STANDARD
    assert not alice.permission.agent
    assert (alice.name, json.loads(alice.metadata)) == ("Alice", {"plan": "gold"})
    assert [p.identity for p in human.room.remote_participants.values()] == [bot.invites[0].identity]
    await human.leave()


async def test_room_metadata_shows_the_status_throughout(stack: Stack) -> None:
    bot = await stack.bot("asr")
    asking = asyncio.create_task(stack.request("asr", prefer="wait=20"))
    invite = await bot.invited()
    [room] = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[invite.session.room_name]))).rooms
    first = json.loads(room.metadata)
    assert (first["session_manager"], first["session_id"], first["state"]) == (1, invite.session.session_id, "waiting")
    assert first["services"][0]["service_id"] == "asr"
    await bot.join()
    human = Human()
    await human.join(await asking)
    await human.sees("active")
    async with stack.http.delete(f"/api/v1/sessions/{invite.session.session_id}") as answer:
        assert answer.status == 200
    await human.is_out()
    assert human.statuses[-1]["state"] == "ended"
    revisions = [status["revision"] for status in human.statuses]
    assert revisions == sorted(revisions)


async def test_missing_service_of_three_is_named_and_no_room_is_left(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, ready_timeout=10)
    asr, llm, tts = [await stack.bot(name) for name in ("asr", "llm", "tts")]
    body = {"user_identity": "alice", "required_services": ["asr", "llm", "tts"]}
    asking = asyncio.create_task(stack.http.post("/api/v1/sessions", json=body))
    await asyncio.gather(asr.invited(), llm.invited(), tts.invited())
    await asyncio.gather(asr.join(), tts.join())
    async with await asking as answer:
        problem = await answer.json()
    assert answer.status == 504
    assert answer.content_type == "application/problem+json"
    assert {s["service_id"]: s["reason"] for s in problem["services"]} == {
        "asr": None,
        "llm": "never_joined",
        "tts": None,
    }
    assert "access_token" not in json.dumps(problem)
    await stack.has_no_rooms()
    assert (await llm.told_goodbye()).reason == EndReason.READY_TIMEOUT


async def test_disconnected_client_ends_its_session_and_room(stack: Stack) -> None:
    bot = await stack.bot("asr")
    async with aiohttp.ClientSession() as impatient:
        body = {"user_identity": "alice", "required_services": ["asr"]}
        asking = asyncio.create_task(impatient.post(f"{stack.url}/api/v1/sessions", json=body))
        invite = await bot.invited()
        asking.cancel()
    session = await over(stack, invite.session.session_id)
    assert session.end is not None
    assert session.end.reason is EndReason.CLIENT_GONE
    await stack.has_no_rooms()
    assert (await bot.told_goodbye()).reason == EndReason.CLIENT_GONE


async def test_prefer_wait_gets_202_and_the_session_goes_on(stack: Stack) -> None:
    bot = await stack.bot("asr")
    body = {"user_identity": "alice", "required_services": ["asr"]}
    async with stack.http.post("/api/v1/sessions", json=body, headers={"Prefer": "wait=0"}) as answer:
        session = await answer.json()
    assert (answer.status, session["state"]) == (202, "waiting")
    assert session["room_name"] in await stack.rooms()
    assert answer.headers["Location"] == f"/api/v1/sessions/{session['session_id']}"
    await bot.invited()
    await bot.join()
    await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    assert (await stack.view(session["session_id"]))["access_token"]


async def test_delete_ends_the_session_once(stack: Stack) -> None:
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot)
    ended = []
    for _ in range(2):
        async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
            assert answer.status == 200
            ended.append(await answer.json())
    assert ended[0] == ended[1]
    assert (ended[0]["state"], ended[0]["reason"]) == ("ended", "closed")
    await stack.has_no_rooms()
    assert await bot.told_goodbye()
    async with stack.http.post(f"/api/v1/sessions/{session['session_id']}/token") as answer:
        assert answer.status == 409
    assert len(bot.session_ended_messages) == 1


async def test_create_is_409_when_the_session_is_closed_meanwhile(stack: Stack) -> None:
    bot = await stack.bot("asr")
    asking = asyncio.create_task(
        stack.http.post("/api/v1/sessions", json={"user_identity": "alice", "required_services": ["asr"]})
    )
    invite = await bot.invited()
    await (await stack.http.delete(f"/api/v1/sessions/{invite.session.session_id}")).release()
    async with await asking as answer:
        assert answer.status == 409


async def test_user_who_leaves_may_rejoin_for_a_while(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, user_rejoin_timeout=8)
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot)
    for _ in range(2):
        human = Human()
        await human.join(session)
        await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
        await human.leave()
        await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert ended.end.reason is EndReason.USER_LEFT
    await stack.has_no_rooms()


async def test_session_ends_when_the_user_never_joins(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, user_join_timeout=2)
    session = await ready_session(stack, await stack.bot("asr"))
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert ended.end.reason is EndReason.USER_NEVER_JOINED


async def test_session_expires_at_max_duration(stack: Stack) -> None:
    session = await ready_session(stack, await stack.bot("asr"), max_duration=10)
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert ended.end.reason is EndReason.EXPIRED


async def test_room_deleted_from_outside_ends_the_session_of_a_user(stack: Stack) -> None:
    session = await ready_session(stack, await stack.bot("asr"))
    user = Human()
    await user.join(session)
    await stack.until(session["session_id"], lambda now: now.state is SessionState.ACTIVE)
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room=session["room_name"]))
    ended = await over(stack, session["session_id"])
    await user.leave()
    assert ended.end is not None
    assert ended.end.reason is EndReason.ROOM_CLOSED


async def test_lost_service_without_replacement_fails_the_session(
    start_stack: StartStack, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "REJOIN_GRACE", 60.0)  # it is not invited again
    stack = await start_stack(site, replacement_timeout=0.5)
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot)
    await bot.leave()
    ended = await over(stack, session["session_id"])
    assert ended.end is not None
    assert (ended.end.reason, ended.services[0].current.shortfall) == (EndReason.SERVICE_LOST, "left")


async def test_refused_invite_is_repeated_with_the_same_id(stack: Stack) -> None:
    bot = await stack.bot("asr")
    bot.answers = 500
    session = await stack.request("asr")
    await bot.invited(times=2)
    bot.answers = 200
    invite = await bot.invited(times=3)
    assert len({(i.id, i.identity, i.attempt) for i in bot.invites}) == 1
    await bot.join(invite)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)


async def test_service_that_answers_410_is_deregistered(stack: Stack) -> None:
    bot = await stack.bot("asr")
    bot.answers = 410
    session = await stack.request("asr")
    await stack.until(session["session_id"], lambda s: s.services[0].current.refused_for_good)
    view = (await stack.view(session["session_id"]))["services"][0]
    assert (view["state"], view["reason"]) == ("failed", "declined")
    async with stack.http.get("/api/v1/microservices/asr") as answer:
        assert answer.status == 404
    assert len(bot.invites) == 1


async def test_optional_service_does_not_delay_the_token(stack: Stack) -> None:
    asr, tts = await stack.bot("asr"), await stack.bot("tts")
    session = await stack.request("asr", {"service_id": "tts", "optional": True})
    await asyncio.gather(asr.invited(), tts.invited())
    await asr.join()
    await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    services = (await stack.view(session["session_id"]))["services"]
    assert [(s["service_id"], s["optional"], s["state"]) for s in services] == [
        ("asr", False, "ready"),
        ("tts", True, "accepted"),
    ]


async def test_service_can_be_required_by_type_and_labels(stack: Stack) -> None:
    bot = await stack.bot("whisper-1", labels={"lang": "de"})
    session = await stack.request({"type": "BOT", "labels": {"lang": "de"}})
    assert (await bot.invited()).service_id == "whisper-1"
    assert (await stack.view(session["session_id"]))["services"][0]["type"] == "BOT"


async def test_plain_room_is_ready_without_services(stack: Stack) -> None:
    session = await stack.request(prefer="wait=10")
    assert (session["state"], session["services"]) == ("ready", [])


async def test_unregistered_service_is_refused_before_a_room_is_made(stack: Stack) -> None:
    await stack.bot("asr")
    body = {"user_identity": "alice", "required_services": ["asr", "nobody"]}
    async with stack.http.post("/api/v1/sessions", json=body) as answer:
        problem = await answer.json()
    assert answer.status == 424
    assert {s["service_id"]: s["reason"] for s in problem["services"]} == {"asr": None, "nobody": "not_registered"}
    assert await stack.rooms() == []


async def test_room_name_in_use_is_refused(stack: Stack) -> None:
    """Also when a session of the name has ended: its owner gets the name back at once, but for one session only."""
    body = {"user_identity": "bob", "required_services": [], "room_name": "lobby"}
    for _ in range(2):
        live = await stack.request(prefer="wait=10", room_name="lobby")
        await stack.until(live["session_id"], is_watched)  # a manager that joins for long keeps the name taken
        async with stack.http.post("/api/v1/sessions", json=body) as answer:
            problem = await answer.json()
        assert (answer.status, problem["type"].rpartition(":")[2]) == (409, "room_name_taken")
        assert 0 < int(answer.headers["Retry-After"]) <= 30
        assert stack.store.get(live["session_id"]).end is None
        await (await stack.http.delete(f"/api/v1/sessions/{live['session_id']}")).release()


async def test_room_of_another_program_is_left_alone(stack: Stack) -> None:
    await stack.livekit.room.create_room(api.CreateRoomRequest(name="theirs", metadata="theirs"))
    body = {"user_identity": "bob", "required_services": [], "room_name": "theirs"}
    async with stack.http.post("/api/v1/sessions", json=body) as answer:
        assert answer.status == 409, await answer.text()
    [room] = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=["theirs"]))).rooms
    assert room.metadata == "theirs"
    assert list(stack.store.list()) == []
    await stack.livekit.room.delete_room(api.DeleteRoomRequest(room="theirs"))


@pytest.mark.parametrize("name", NAMES)
async def test_rooms_and_users_of_any_name_become_active(stack: Stack, name: str) -> None:
    bot = await stack.bot("asr")
    session = await ready_session(stack, bot, room_name=name, user_identity=name)
    human = Human()
    await human.join(session)
    await stack.until(session["session_id"], lambda session: session.state is SessionState.ACTIVE)
    assert (human.room.name, human.room.local_participant.identity) == (name, name)
    view = await stack.view(session["session_id"])
    assert (view["room_name"], view["user_identity"]) == (name, name)
    async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
        assert (await answer.json())["reason"] == "closed"
    await human.is_out()
