"""POST /api/v1/token: services, waiting, and access to rooms."""

from __future__ import annotations

import asyncio
import json
import random
import re
import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from http_api.resources import repeated_requests
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import Settings
from manager_agent.frozen import replace
from manager_agent.registry.registry import Registry
from manager_agent.session import events as ev
from manager_agent.session.deadlines import deadline
from manager_agent.session.guests import GUESTS_MAX
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.session.specification import Specification
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api

FILE = """
services:
  - {service_id: asr-1, endpoint: "http://127.0.0.1:1/", metadata: {type: ASR}}
  - {service_id: tts-1, endpoint: "http://127.0.0.1:1/", metadata: {type: TTS}}
profiles:
  nothing: []
  default: [asr-1]
  voice-bot: [{type: ASR}, {type: TTS}]
  elsewhere: [gone]
"""
TOKEN = "/token"
ALICE, BOB = (
    {"room_name": "demo", "participant_identity": "alice"},
    {"room_name": "demo", "participant_identity": "bob"},
)
PLAIN: dict[str, Any] = {"room_config": {"agents": [{"agent_name": "nothing"}]}}
SECRET = "secret"


@pytest.fixture
def services_file(tmp_path: Path) -> Path:
    path = tmp_path / "services.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
async def api(start_api: StartApi, services_file: Path) -> Api:
    return await start_api(services_file=services_file)


def agents(*names: str) -> dict[str, Any]:
    return {"room_config": {"agents": [{"agent_name": name} for name in names]}}


def claims_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The claims of the token. The answer has only the token and the server's URL."""
    assert set(answer) == {"server_url", "participant_token"}
    claims: dict[str, Any] = jwt.decode(answer["participant_token"], SECRET, algorithms=["HS256"])
    return claims


def slug(problem: dict[str, Any]) -> str:
    return str(problem["type"]).rpartition(":")[2]


def sessions(api: Api) -> list[Session]:
    return list(api.parts.store.list())


async def only_session(api: Api, *, invited: bool = True) -> Session:
    """The only session, once its services are invited."""
    if invited:
        await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    return session


def invited_anew(session: Session) -> bool:
    return session.services[0].attempt == 2 and session.services[0].timeline.accepted is not None


# --- which services ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "required"),
    [
        (("asr-1",), ["asr-1"]),
        (("TTS",), ["tts-1"]),
        (("voice-bot",), ["asr-1", "tts-1"]),
        (("tts-1", "asr-1"), ["tts-1", "asr-1"]),
        ((), ["asr-1"]),
    ],
)
async def test_agent_names_are_services_types_or_profiles(
    api: Api, names: tuple[str, ...], required: list[str]
) -> None:
    asking = asyncio.create_task(api.ask("POST", TOKEN, agents(*names)))
    session = await only_session(api)
    assert [service.service_id for service in session.services] == required
    asking.cancel()


async def test_unknown_agent_name_is_422(api: Api) -> None:
    status, _, problem = await api.ask("POST", TOKEN, agents("asr-1", "nobody"))
    assert (status, problem["errors"]) == (
        422,
        [{"field": "room_config.agents[1].agent_name", "detail": "'nobody' is not a service, type, profile or agent"}],
    )
    assert sessions(api) == []


async def test_agent_without_a_registered_service_is_424(api: Api) -> None:
    status, _, problem = await api.ask("POST", TOKEN, agents("elsewhere"))
    assert (status, problem["services"][0]["reason"]) == (424, "not_registered")


async def test_unavailable_service_is_424_even_at_sessions_max(start_api: StartApi, services_file: Path) -> None:
    """The services are chosen before the quotas are checked."""
    api = await start_api(services_file=services_file, sessions_max=1)
    answers = [(await api.ask("POST", TOKEN, body))[0] for body in (PLAIN, agents("gone"), PLAIN)]
    assert answers == [201, 424, 503]


async def test_no_status_of_services_is_computed_for_a_token(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(Registry, "statuses")
        assert (await api.ask("POST", TOKEN, PLAIN))[0] == 201


async def test_default_profile_setting_names_another_profile(start_api: StartApi, services_file: Path) -> None:
    api = await start_api(services_file=services_file, default_profile="nothing")
    status, _, _ = await api.ask("POST", TOKEN, {})
    assert (status, [session.services for session in sessions(api)]) == (201, [()])


async def test_unknown_default_profile_stops_the_start(start_api: StartApi, services_file: Path) -> None:
    for settings in ({"services_file": services_file}, {}):
        with pytest.raises(BadSettings, match="DEFAULT_PROFILE"):
            await start_api(default_profile="defualt", **settings)


async def test_missing_agents_without_a_default_profile_are_422(start_api: StartApi) -> None:
    status, _, problem = await (await start_api()).ask("POST", TOKEN, {})
    assert (status, problem["errors"][0]["field"]) == (422, "room_config.agents")
    assert "DEFAULT_PROFILE" in problem["errors"][0]["detail"]


async def test_agent_metadata_goes_to_invites_and_user_data_to_the_token(api: Api) -> None:
    given = {
        "participant_name": "Alice",
        "participant_metadata": "as it is",
        "participant_attributes": {"lang": "de"},
        "room_config": {"agents": [{"agent_name": "TTS", "metadata": '{"voice": 7}', "deployment": ""}], "name": ""},
    }
    asking = asyncio.create_task(api.ask("POST", TOKEN, ALICE | given))
    session = await only_session(api)
    assert session.metadata.parsed() == {"agents": {"TTS": '{"voice": 7}'}}
    await api.say_ready(session.session_id, "tts-1")
    claims = claims_of((await asking)[2])
    assert (claims["name"], claims["metadata"], claims["attributes"]["lang"]) == ("Alice", "as it is", "de")
    assert claims["sub"] == "alice"


# --- the answer -------------------------------------------------------------------------------------


async def test_token_comes_when_ready_and_outlives_the_clients_timeout(api: Api) -> None:
    asking = asyncio.create_task(api.ask("POST", TOKEN, ALICE))
    session = await only_session(api)
    await api.has_waiting(1)
    assert (session.state, asking.done()) == (SessionState.WAITING, False)
    await api.say_ready(session.session_id, "asr-1")
    status, headers, answer = await asking
    assert (status, headers["Cache-Control"], answer["server_url"]) == (201, "no-store", "ws://localhost:7880")
    claims = claims_of(answer)
    assert (claims["sub"], claims["video"]["room"]) == ("alice", "demo")
    assert claims["exp"] - time.time() > 60


@pytest.mark.parametrize("body", [{}, None])
async def test_room_and_identity_are_generated_when_missing(
    start_api: StartApi, services_file: Path, body: Any
) -> None:
    api = await start_api(services_file=services_file, default_profile="nothing")
    first, second = [claims_of((await api.ask("POST", TOKEN, body))[2]) for _ in range(2)]
    assert re.fullmatch("user-[0-9a-z]{26}", first["sub"])
    assert re.fullmatch("room-[0-9a-z]{26}", first["video"]["room"])
    assert first["sub"] != second["sub"]
    assert first["video"]["room"] != second["video"]["room"]
    assert "metadata" not in first


async def test_token_source_has_no_2xx_without_a_token(start_api: StartApi, services_file: Path) -> None:
    api = await start_api(services_file=services_file, ready_timeout=2)
    status, _, problem = await api.ask("POST", TOKEN, ALICE)
    assert (status, slug(problem), problem["services"][0]["reason"]) == (504, "not_ready", "never_joined")
    api.livekit.down = True
    status, headers, problem = await api.ask("POST", TOKEN, {})
    assert (status, headers["Retry-After"], slug(problem)) == (503, "2", "room_unavailable")
    status, _, problem = await api.ask("POST", TOKEN, {"participant_identity": "sm-asr"})
    assert (status, slug(problem)) == (422, "invalid")


async def test_user_grants_setting_limits_every_token(start_api: StartApi, services_file: Path) -> None:
    api = await start_api(services_file=services_file, user_grants=("can_subscribe",))
    claims = claims_of((await api.ask("POST", TOKEN, PLAIN))[2])
    assert (claims["video"]["canPublish"], claims["video"]["canSubscribe"]) == (False, True)
    status, _, problem = await api.open(user_grants={"can_publish": True, "can_subscribe": True})
    assert (status, [bad["field"] for bad in problem["errors"]]) == (422, ["user_grants.can_publish"])


# --- a room with a session --------------------------------------------------------------------------


async def test_same_identity_gets_a_new_token_and_another_joins_the_room(api: Api) -> None:
    given = {"participant_name": "Bob", "participant_metadata": "b", "participant_attributes": {"a": "b"}}
    first = claims_of((await api.ask("POST", TOKEN, ALICE | PLAIN))[2])
    again = claims_of((await api.ask("POST", TOKEN, ALICE))[2])
    bob = claims_of((await api.ask("POST", TOKEN, BOB | given))[2])
    assert [claims["sub"] for claims in (first, again, bob)] == ["alice", "alice", "bob"]
    assert {claims["video"]["room"] for claims in (first, again, bob)} == {"demo"}
    assert len({claims["jti"] for claims in (first, again, bob)}) == 3
    assert (bob["name"], bob["metadata"], bob["attributes"]["a"]) == ("Bob", "b", "b")
    assert len(sessions(api)) == 1


async def test_guest_who_could_not_be_recorded_is_refused(api: Api) -> None:
    await api.ask("POST", TOKEN, ALICE | PLAIN)
    [session] = sessions(api)
    letters = random.Random(1)
    for _ in range(50):
        guest = "".join(letters.choices(string.ascii_letters, k=500))
        await api.parts.store.update(session.session_id, ev.TokenGiven(api.parts.clock(), guest))
    identities = ("".join(letters.choices(string.ascii_letters, k=250)) for _ in range(GUESTS_MAX - 50))
    answers = [await api.ask("POST", TOKEN, BOB | {"participant_identity": identity}) for identity in identities]
    assert (answers[0][0], answers[-1][0], slug(answers[-1][2])) == (201, 422, "session_too_long")
    admitted = sum(status == 201 for status, _, _ in answers)
    [session] = sessions(api)
    assert len(Specification.of(session).guests) == 50 + admitted
    assert (await api.ask("POST", TOKEN, ALICE))[0] == 201


async def test_token_requests_for_a_waiting_session_wait_for_it(api: Api) -> None:
    asking = [asyncio.create_task(api.ask("POST", TOKEN, body)) for body in (ALICE, ALICE, BOB)]
    session = await only_session(api)
    await api.has_waiting(3)
    await api.say_ready(session.session_id, "asr-1")
    answers = await asyncio.gather(*asking)
    assert [claims_of(answer)["sub"] for _, _, answer in answers] == ["alice", "alice", "bob"]


async def test_token_requests_wait_while_a_service_is_replaced(api: Api) -> None:
    asking = asyncio.create_task(api.ask("POST", TOKEN, ALICE))
    session = await only_session(api)
    await api.say_ready(session.session_id, "asr-1")
    await asking
    identity = api.parts.store.get(session.session_id).services[0].identity or ""
    failed = ev.ServiceSignalled(api.parts.clock(), identity, ev.Signal.FAILED, ev.Evidence.MESSAGE)
    assert (await api.parts.store.update(session.session_id, failed)).state is SessionState.DEGRADED
    coming = [asyncio.create_task(api.ask("POST", TOKEN, body)) for body in (ALICE, BOB)]
    await api.has_waiting(2)
    await api.until(session.session_id, invited_anew)
    assert not any(one.done() for one in coming)
    await api.say_ready(session.session_id, "asr-1")
    assert [claims_of((await one)[2])["sub"] for one in coming] == ["alice", "bob"]


async def test_token_requests_for_an_ending_session_get_its_reason(api: Api) -> None:
    asking = [asyncio.create_task(api.ask("POST", TOKEN, body)) for body in (ALICE, BOB)]
    session = await only_session(api)
    await api.has_waiting(2)
    await api.ask("DELETE", f"/sessions/{session.session_id}")
    answers = await asyncio.gather(*asking)
    assert [(status, slug(p), p["reason"]) for status, _, p in answers] == [(409, "session_over", "closed")] * 2


async def test_token_for_a_session_created_over_the_api_has_its_own_grants(api: Api) -> None:
    await api.open(room_name="demo", user_grants={"can_publish": False}, user_name="Alice", metadata={"plan": "gold"})
    claims = claims_of((await api.ask("POST", TOKEN, ALICE | {"participant_name": "Eve"}))[2])
    assert (claims["video"]["canPublish"], claims["name"], json.loads(claims["metadata"])) == (
        False,
        "Alice",
        {"plan": "gold"},
    )
    bob = claims_of((await api.ask("POST", TOKEN, BOB))[2])
    assert "metadata" not in bob


async def test_room_of_an_ended_session_can_be_restarted_by_its_owner_at_once(api: Api) -> None:
    for _ in range(3):
        assert (await api.ask("POST", TOKEN, ALICE | PLAIN))[0] == 201
        await api.ask("DELETE", f"/sessions/{sessions(api)[-1].session_id}")
    assert len(sessions(api)) == 3


async def test_wait_for_the_name_of_a_room_is_part_of_the_time_to_become_ready(api: Api) -> None:
    assert (await api.ask("POST", TOKEN, ALICE | PLAIN))[0] == 201
    api.livekit.fails_to_delete = True
    closing = asyncio.create_task(api.ask("DELETE", f"/sessions/{sessions(api)[0].session_id}"))
    await api.until(sessions(api)[0].session_id, lambda latest: latest.end is not None and latest.end.clean_ups > 0)
    asking = asyncio.create_task(api.ask("POST", TOKEN, ALICE))
    await api.has_waiting(1)
    await asyncio.sleep(0.05)
    ready_by = api.parts.clock() + api.parts.settings.ready_timeout
    api.livekit.fails_to_delete = False
    await api.livekit.invited.wait()
    assert sessions(api)[1].ready_deadline < ready_by
    for task in (asking, closing):
        task.cancel()


async def test_token_for_a_room_in_use_does_not_wait_for_its_name(start_api: StartApi, services_file: Path) -> None:
    """However long a request may wait for a name that is reserved."""
    api = await start_api(services_file=services_file, ready_timeout=600)
    assert (await api.ask("POST", TOKEN, ALICE | PLAIN))[0] == 201
    assert (await api.ask("POST", TOKEN, ALICE | {"participant_identity": "bob"}))[0] == 201
    assert len(sessions(api)) == 1


async def test_two_hundred_concurrent_token_requests_for_a_room_get_one_session(api: Api) -> None:
    bodies = [{"room_name": "demo", "participant_identity": f"user-{n % 20}"} for n in range(200)]

    async def subject(http: aiohttp.ClientSession, body: dict[str, str]) -> str:
        async with http.post("/api/v1/token", json=body) as answer:
            return str(claims_of(await answer.json())["sub"])

    everybody = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", connector=everybody) as http:
        asking = [asyncio.create_task(subject(http, body)) for body in bodies]
        await api.has_waiting(len(bodies))
        await api.say_ready((await only_session(api)).session_id, "asr-1")
        assert await asyncio.gather(*asking) == [body["participant_identity"] for body in bodies]
    assert api.livekit.rooms == ["demo"]
    assert len(sessions(api)) == 1
    assert api.livekit.invite_count == {"asr-1": 1}


async def test_concurrent_token_requests_for_a_foreign_room_are_all_409(api: Api) -> None:
    api.livekit.foreign_rooms = {"demo"}
    answers = await asyncio.gather(*(api.ask("POST", TOKEN, body) for body in [ALICE, BOB] * 50))
    assert {(status, slug(problem)) for status, _, problem in answers} == {(409, "room_name_taken")}
    assert sessions(api) == []


# --- a client that goes away ------------------------------------------------------------------------


async def test_disconnected_client_ends_a_session_with_a_generated_room(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 0.05)
    asking = asyncio.create_task(api.ask("POST", TOKEN, {"participant_identity": "alice"}))
    session = await only_session(api)
    asking.cancel()
    over = await api.until(session.session_id, lambda latest: latest.over)
    assert over.end is not None
    assert over.end.reason is EndReason.CLIENT_GONE


async def test_client_that_gives_up_and_asks_again_finds_its_session(api: Api) -> None:
    """OkHttp gives up after 10 s. The same request takes the session up, as often as it is repeated; another does
    not."""
    body = {"participantName": "Alice"}
    asking = asyncio.create_task(api.ask("POST", TOKEN, body))
    session = await only_session(api)
    for _ in range(2):
        await api.has_waiting(1)
        asking.cancel()
        await api.has_waiting(0)
        asking = asyncio.create_task(api.ask("POST", TOKEN, {"participant_name": "Alice"}))
    other = asyncio.create_task(api.ask("POST", TOKEN, {"participant_name": "Bob"}))
    await api.has_waiting(2)
    assert len(sessions(api)) == 2
    await api.say_ready(session.session_id, "asr-1")
    claims = claims_of((await asking)[2])
    assert (claims["sub"], claims["video"]["room"]) == (session.user.identity, session.room_name)
    assert not other.done()
    other.cancel()


async def test_session_taken_up_once_is_not_given_to_a_second_client(api: Api) -> None:
    asking = asyncio.create_task(api.ask("POST", TOKEN, {}))
    session = await only_session(api)
    await api.has_waiting(1)
    asking.cancel()
    await api.has_waiting(0)
    both = [asyncio.create_task(api.ask("POST", TOKEN, {})) for _ in range(2)]
    await api.has_waiting(2)
    assert len(sessions(api)) == 2
    await api.say_ready(session.session_id, "asr-1")
    done, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    assert [claims_of(task.result()[2])["video"]["room"] for task in done] == [session.room_name]
    for task in rest:
        task.cancel()


async def both_waiting(api: Api, body: dict[str, Any]) -> tuple[Session, list[asyncio.Task[Any]]]:
    """The session of two requests with this body, the second of which is sent while the first one waits."""
    first = asyncio.create_task(api.ask("POST", TOKEN, body))
    session = await only_session(api)
    await api.has_waiting(1)
    second = asyncio.create_task(api.ask("POST", TOKEN, body))
    await api.has_waiting(2)
    return session, [first, second]


async def test_repeated_request_with_an_identity_finds_its_session_while_the_first_waits(api: Api) -> None:
    """A proxy may keep the first request waiting although its client has given up."""
    session, both = await both_waiting(api, {"participant_identity": "alice"})
    both[0].cancel()
    await api.has_waiting(1)
    await api.say_ready(session.session_id, "asr-1")
    claims = claims_of((await both[1])[2])
    assert (claims["sub"], claims["video"]["room"], len(sessions(api))) == ("alice", session.room_name, 1)


async def test_session_of_two_requests_ends_when_both_clients_disconnected(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "KEPT", 0.05)
    session, both = await both_waiting(api, {"participant_identity": "alice"})
    for task in both:
        task.cancel()
    over = await api.until(session.session_id, lambda latest: latest.over)
    assert over.end is not None
    assert over.end.reason is EndReason.CLIENT_GONE


async def test_third_request_with_an_identity_finds_the_session_of_the_second(api: Api) -> None:
    body = {"participant_identity": "alice"}
    session, both = await both_waiting(api, body)
    both[0].cancel()
    await api.has_waiting(1)
    third = asyncio.create_task(api.ask("POST", TOKEN, body))
    await api.has_waiting(2)
    await api.say_ready(session.session_id, "asr-1")
    rooms = [claims_of((await task)[2])["video"]["room"] for task in (both[1], third)]
    assert (rooms, len(sessions(api))) == ([session.room_name] * 2, 1)


async def test_request_with_an_identity_opens_another_session_once_the_first_has_its_token(api: Api) -> None:
    body = {"participant_identity": "alice"} | PLAIN
    rooms = [claims_of((await api.ask("POST", TOKEN, body))[2])["video"]["room"] for _ in range(2)]
    assert rooms[0] != rooms[1]


@pytest.mark.parametrize("body", [{"participant_identity": "alice"}, {"participant_name": "Alice"}])
async def test_repeated_request_finds_the_session_that_an_earlier_process_left_waiting(
    start_api: StartApi, services_file: Path, body: dict[str, Any]
) -> None:
    first, second = [await start_api(services_file=services_file) for _ in range(2)]
    killed = asyncio.create_task(first.ask("POST", TOKEN, body))
    session = await only_session(first)
    await second.parts.orchestrator.resume(session, recorded=session)
    other = asyncio.create_task(second.ask("POST", TOKEN, body | {"participant_metadata": "other"}))
    repeated = asyncio.create_task(second.ask("POST", TOKEN, body))
    await second.has_waiting(2)
    invited_by_the_first = first.livekit.invites["asr-1"]
    assert (await second.say_ready(session.session_id, "asr-1", invited_by_the_first))[0] == 200
    claims = claims_of((await repeated)[2])
    assert (claims["sub"], claims["video"]["room"]) == (session.user.identity, session.room_name)
    assert (len(sessions(second)), other.done()) == (2, False)
    for task in (killed, other):
        task.cancel()


async def test_session_that_an_earlier_process_left_ready_is_not_given_out_again(
    start_api: StartApi, services_file: Path
) -> None:
    """The earlier client may have its token."""
    first, second = [await start_api(services_file=services_file) for _ in range(2)]
    body = {"participant_identity": "alice"} | PLAIN
    given = claims_of((await first.ask("POST", TOKEN, body))[2])["video"]["room"]
    (session,) = sessions(first)
    await second.parts.orchestrator.resume(session, recorded=session)
    assert claims_of((await second.ask("POST", TOKEN, body))[2])["video"]["room"] != given


async def test_session_that_was_ready_and_waits_again_is_not_given_out_by_the_next_process(
    start_api: StartApi, services_file: Path
) -> None:
    """The earlier client may have its token, and may be on its way into the room that is made again."""
    first, second = [await start_api(services_file=services_file) for _ in range(2)]
    body = {"participant_identity": "alice"}
    killed = asyncio.create_task(first.ask("POST", TOKEN, body))
    session = await only_session(first)
    again = replace(session, waiting_again_since=first.parts.clock())
    await second.parts.orchestrator.resume(again, recorded=again)
    repeated = asyncio.create_task(second.ask("POST", TOKEN, body))
    await second.has_waiting(1)
    assert len(sessions(second)) == 2
    for task in (killed, repeated):
        task.cancel()


async def test_equal_waiting_requests_without_an_identity_are_of_different_users(api: Api) -> None:
    _, both = await both_waiting(api, {"participant_name": "Alice"})
    assert len(sessions(api)) == 2
    for task in both:
        task.cancel()


# --- who keeps the session, and how long a token may be used ----------------------------------------


async def test_token_can_be_used_only_as_long_as_its_room_lasts(start_api: StartApi, services_file: Path) -> None:
    """A client uses a token until a minute before its expiry, so the room must last until then."""
    api = await start_api(services_file=services_file, token_join_timeout=30, user_rejoin_timeout=20)
    await api.ask("POST", TOKEN, ALICE | PLAIN)
    (session,) = sessions(api)
    assert session.limits.user_join_timeout == 30

    async def usable() -> tuple[float, float]:
        claims = claims_of((await api.ask("POST", TOKEN, ALICE))[2])
        now = time.time()
        return claims["exp"] - 60 - now, until_then(api.parts.store.get(session.session_id), now)

    def until_then(latest: Session, now: float) -> float:
        due = deadline(latest)
        assert due is not None
        return due[0] - now

    token, room = await usable()
    assert 0 < token <= room <= 30
    now = api.parts.clock()
    came = ev.ParticipantSeen(now, ev.ParticipantInfo("alice", "PA_1", 1))
    await api.parts.store.update(session.session_id, came)
    token, _ = await usable()
    assert 0 < token <= 20
    await api.parts.store.update(session.session_id, ev.ParticipantLeft(now, "alice", "PA_1"))
    token, room = await usable()
    assert 0 < token <= room <= 20


async def test_reloaded_page_without_an_identity_keeps_the_session(api: Api) -> None:
    first = claims_of((await api.ask("POST", TOKEN, {"room_name": "demo"} | PLAIN))[2])
    (session,) = sessions(api)
    now = api.parts.clock()
    await api.parts.store.update(session.session_id, ev.ParticipantSeen(now, ev.ParticipantInfo(first["sub"], "PA_1")))
    again = claims_of((await api.ask("POST", TOKEN, {"room_name": "demo"}))[2])
    assert again["sub"] != first["sub"]
    await api.parts.store.update(session.session_id, ev.ParticipantLeft(now, first["sub"], "PA_1"))
    came = ev.ParticipantSeen(now, ev.ParticipantInfo(again["sub"], "PA_2"))
    assert (await api.parts.store.update(session.session_id, came)).state is SessionState.ACTIVE


async def test_session_created_over_the_api_is_kept_by_its_own_user_only(api: Api) -> None:
    await api.open(room_name="demo")
    bob = claims_of((await api.ask("POST", TOKEN, BOB))[2])
    (session,) = sessions(api)
    came = ev.ParticipantSeen(api.parts.clock(), ev.ParticipantInfo(bob["sub"], "PA_2"))
    assert (await api.parts.store.update(session.session_id, came)).state is SessionState.READY
    assert session.limits.user_join_timeout == 120


async def test_reloaded_page_joins_the_session_it_asked_for(api: Api) -> None:
    asking = asyncio.create_task(api.ask("POST", TOKEN, ALICE))
    session = await only_session(api)
    await api.has_waiting(1)
    asking.cancel()
    await api.has_waiting(0)
    again = asyncio.create_task(api.ask("POST", TOKEN, ALICE))
    await api.has_waiting(1)
    await api.say_ready(session.session_id, "asr-1")
    assert claims_of((await again)[2])["sub"] == "alice"
    assert len(sessions(api)) == 1


# --- whose it is ------------------------------------------------------------------------------------


@asynccontextmanager
async def issuer() -> AsyncIterator[tuple[str, ec.EllipticCurvePrivateKey]]:
    """The URL of an issuer's keys, and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"kid": "k", "alg": "ES256"}
    app = web.Application()

    async def keys(request: web.Request) -> web.Response:
        return web.json_response({"keys": [public]})

    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}/keys", key
    await runner.cleanup()


@pytest.fixture
async def guarded(start_api: StartApi, services_file: Path) -> AsyncIterator[tuple[Api, Any]]:
    """An API with an API key and a JWT issuer, and a function for the headers of the issuer's users."""
    async with issuer() as (url, key):
        api = await start_api(
            Settings,
            server_host="127.0.0.1",
            livekit_api_key="devkey",
            livekit_api_secret=SECRET,
            services_file=services_file,
            invite_networks="127.0.0.0/8",
            api_keys=f"backend:{'0' * 64}",
            jwks_url=url,
            jwks_audience="us",
        )

        def user(identity: str) -> dict[str, str]:
            claims = {"sub": identity, "aud": "us", "exp": 2**33}
            return {"Authorization": f"Bearer {jwt.encode(claims, key, 'ES256', {'kid': 'k'})}"}

        yield api, user


async def test_issuer_user_gets_tokens_for_its_own_identity_only(guarded: tuple[Api, Any]) -> None:
    api, user = guarded
    status, _, problem = await api.ask("POST", TOKEN, ALICE | PLAIN, user("bob"))
    assert (status, slug(problem), sessions(api)) == (403, "forbidden", [])
    for body in ({}, {"participant_identity": "bob"}, {"participant_identity": ""}):
        status, _, answer = await api.ask("POST", TOKEN, body | PLAIN, user("bob"))
        assert (status, claims_of(answer)["sub"]) == (201, "bob")


async def test_waiting_requests_of_issuer_users_share_a_session_only_with_their_own(guarded: tuple[Api, Any]) -> None:
    api, user = guarded
    asking = []
    for count, name in enumerate(("alice", "bob", "alice"), 1):
        asking.append(asyncio.create_task(api.ask("POST", TOKEN, {}, user(name))))
        await api.has_waiting(count)
    assert sorted(session.user.identity for session in sessions(api)) == ["alice", "bob"]
    for task in asking:
        task.cancel()


async def test_room_of_an_issuer_user_is_closed_to_other_users_and_callers(guarded: tuple[Api, Any]) -> None:
    """JWKS_ROOMS_CLAIM is not set: no user can share a room."""
    api, user = guarded
    status, _, answer = await api.ask("POST", TOKEN, {"room_name": "demo"} | PLAIN, user("alice"))
    assert (status, claims_of(answer)["sub"]) == (201, "alice")
    claims = {"iss": "devkey", "exp": 2**33, "video": {"roomCreate": True}}
    livekit = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"}
    for body, proof in (({"room_name": "demo"} | PLAIN, user("bob")), (ALICE, livekit)):
        status, headers, problem = await api.ask("POST", TOKEN, body, proof)
        assert (status, slug(problem), "Retry-After" in headers) == (409, "room_name_taken", True)
    assert len(sessions(api)) == 1


async def test_token_request_without_credentials_is_401(guarded: tuple[Api, Any]) -> None:
    api, _ = guarded
    assert (await api.ask("POST", TOKEN, ALICE))[0] == 401
