"""Idempotency-Key: a repeated request is executed once and answered with the same bytes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from http_api.access.api_keys import digest_of
from http_api.server import serving
from http_api.settings.settings import DevSettings, Settings
from manager_agent.session.session import Session
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, LiveKit, StartApi, stand_ins

pytestmark = pytest.mark.api

AT_ONCE = 200
PER_REQUEST = {"date", "x-request-id", "idempotency-replayed"}
"""Headers in which a replayed answer may differ, in lower case."""
SESSIONS, REGISTER = "/api/v1/sessions", "/api/v1/microservices/register"
REGISTRATION = {"service_id": "asr-service", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}


@dataclass(frozen=True)
class Raw:
    """An answer, byte by byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    request_id: str
    replayed: str | None

    @property
    def same(self) -> tuple[int, dict[str, str], bytes]:
        """The parts that a replay repeats."""
        return self.status, self.headers, self.body

    @property
    def slug(self) -> str:
        return self.body.partition(b'"type":"')[2].partition(b'"')[0].decode().rpartition(":")[2]


@pytest.fixture
async def http(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a limit of connections."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", connector=connector) as http:
        yield http


async def post(http: aiohttp.ClientSession, path: str, body: Any, key: str, **headers: str) -> Raw:
    async with http.post(path, json=body, headers={"Idempotency-Key": key, **headers}) as answer:
        kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in PER_REQUEST}
        request_id, replayed = answer.headers["X-Request-Id"], answer.headers.get("Idempotency-Replayed")
        return Raw(answer.status, kept, await answer.read(), request_id, replayed)


def wanted(*required: str, **more: Any) -> dict[str, Any]:
    return {"user_identity": "alice", "required_services": list(required), **more}


async def the_session(api: Api) -> Session:
    """The only session, once its services are invited."""
    await api.livekit.invited.wait()
    (session,) = api.parts.store.list()
    return session


async def a_client_without_key_went_away(api: Api) -> None:
    """Let a client without a key disconnect, and wait until the server has noticed."""
    known = {session.session_id for session in api.parts.store.list()}
    api.livekit.invited.clear()
    await api.register("other-service")
    asking = asyncio.create_task(api.open("other-service", prefer=""))
    await api.livekit.invited.wait()
    (other,) = [session for session in api.parts.store.list() if session.session_id not in known]
    asking.cancel()
    await api.until(other.session_id, lambda latest: latest.over)


# --- the same answer --------------------------------------------------------------------------------


async def test_repeated_request_gets_the_same_bytes_and_no_second_room(api: Api) -> None:
    first = await post(api.http, SESSIONS, wanted(), "k", Prefer="wait=5")
    again = await post(api.http, SESSIONS, wanted(), "k", Prefer="wait=5")
    assert (first.status, first.headers["preference-applied"], first.replayed) == (201, "wait=5", None)
    assert first.headers.keys() >= {"location", "etag", "content-type", "cache-control"}
    assert again.same == first.same
    assert (again.replayed, again.request_id != first.request_id) == ("true", True)
    assert len(api.livekit.rooms) == 1


async def test_repeated_request_gets_the_first_answer_of_a_changed_session(api: Api) -> None:
    """Even a 202 whose session is over by then."""
    await api.register("asr-service")
    first = await post(api.http, SESSIONS, wanted("asr-service"), "k", Prefer="respond-async")
    session = await the_session(api)
    await api.ask("DELETE", f"/sessions/{session.session_id}")
    again = await post(api.http, SESSIONS, wanted("asr-service"), "k")
    assert (again.status, again.same) == (202, first.same)


async def test_not_ready_answer_is_replayed(api: Api) -> None:
    await api.register("asr-service")
    first = await post(api.http, SESSIONS, wanted("asr-service", ready_timeout=2), "k")
    again = await post(api.http, SESSIONS, wanted("asr-service", ready_timeout=2), "k")
    assert (first.status, first.slug, again.replayed, again.same) == (504, "not_ready", "true", first.same)
    assert api.livekit.invite_count["asr-service"] == 1


async def test_session_over_answer_is_replayed(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(post(api.http, SESSIONS, wanted("asr-service"), "k"))
    session = await the_session(api)
    await api.ask("DELETE", f"/sessions/{session.session_id}")
    first = await asking
    again = await post(api.http, SESSIONS, wanted("asr-service"), "k")
    assert (first.status, first.slug, again.replayed, again.same) == (409, "session_over", "true", first.same)


async def test_repeated_registration_is_answered_201_again(api: Api) -> None:
    """Without the key the answer would be 200, for a replacement."""
    first = await post(api.http, REGISTER, REGISTRATION, "k")
    again = await post(api.http, REGISTER, REGISTRATION, "k")
    assert (first.status, again.replayed, again.same) == (201, "true", first.same)
    assert (await api.ask("POST", "/microservices/register", REGISTRATION))[0] == 200


async def test_quoted_and_bare_idempotency_keys_are_equal(api: Api) -> None:
    """The draft has a quoted string; most clients send the bare key."""
    first = await post(api.http, SESSIONS, wanted(), "k-1")
    again = await post(api.http, SESSIONS, wanted(), '"k-1"')
    assert (again.replayed, again.same) == ("true", first.same)


async def test_idempotency_key_belongs_to_one_operation(api: Api) -> None:
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 201
    assert (await post(api.http, REGISTER, REGISTRATION, "k")).status == 201


async def test_safe_operations_ignore_the_idempotency_key(api: Api) -> None:
    for _ in range(2):
        async with api.http.get(SESSIONS, headers={"Idempotency-Key": "k"}) as answer:
            assert (answer.status, answer.headers.get("Idempotency-Replayed")) == (200, None)


# --- other requests, and unfit keys -----------------------------------------------------------------


async def test_idempotency_key_with_another_body_is_422(api: Api) -> None:
    await post(api.http, SESSIONS, wanted(), "k")
    other = await post(api.http, SESSIONS, wanted(room_name="other"), "k")
    assert (other.status, other.slug) == (422, "idempotency_key_reused")
    assert len(api.livekit.rooms) == 1


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, '"unfinished'])
async def test_malformed_idempotency_key_is_400(api: Api, key: str) -> None:
    answer = await post(api.http, SESSIONS, wanted(), key)
    assert (answer.status, answer.slug) == (400, "malformed_request")
    assert not list(api.parts.store.list())


async def test_two_idempotency_keys_in_one_request_are_400(api: Api) -> None:
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    async with api.http.post(SESSIONS, json=wanted(), headers=keys) as answer:
        assert answer.status == 400


async def test_idempotency_keys_of_two_callers_do_not_collide(start_api: StartApi) -> None:
    """The second caller learns nothing of the first one's answer and is not blocked by it."""
    api = await start_api(
        Settings,
        livekit_api_key="key",
        livekit_api_secret="a secret of this test",
        api_keys=",".join(f"{name}:{digest_of('sm_' + name)}" for name in ("alice", "bob")),
    )
    alices = await post(api.http, SESSIONS, wanted(), "k", Authorization="Bearer sm_alice")
    bobs = await post(api.http, SESSIONS, wanted(room_name="bobs"), "k", Authorization="Bearer sm_bob")
    assert (alices.status, bobs.status, bobs.replayed) == (201, 201, None)
    assert [session.owner for session in api.parts.store.list()] == ["alice", "bob"]


# --- what is not kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user_identity": "alice"}, 422),
        (wanted("nobody"), 424),
        (wanted(metadata={"x": "x" * 70_000}), 413),
    ],
)
async def test_refused_request_frees_the_idempotency_key(api: Api, body: Any, status: int) -> None:
    """The next request with the key may be a different one."""
    for _ in range(2):
        refused = await post(api.http, SESSIONS, body, "k")
        assert (refused.status, refused.replayed) == (status, None)
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 201


async def test_malformed_json_frees_the_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    async with api.http.post(SESSIONS, data=b"{", headers=headers) as answer:
        assert answer.status == 400
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 201


async def test_taken_room_name_frees_the_idempotency_key(api: Api) -> None:
    api.livekit.foreign_rooms.add("demo")
    assert (await post(api.http, SESSIONS, wanted(room_name="demo"), "k")).slug == "room_name_taken"
    api.livekit.foreign_rooms.clear()
    assert (await post(api.http, SESSIONS, wanted(room_name="demo"), "k")).status == 201


async def test_livekit_outage_frees_the_idempotency_key(api: Api) -> None:
    """The client's next try should get a room."""
    api.livekit.down = True
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 503
    api.livekit.down = False
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 201


async def test_internal_error_frees_the_idempotency_key(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.livekit.broken = True
    answer = await post(api.http, SESSIONS, wanted(), "k")
    assert (answer.status, answer.slug) == (500, "internal_error")
    api.livekit.broken = False
    assert (await post(api.http, SESSIONS, wanted(), "k")).status == 201


# --- at the same time, and clients that go away -----------------------------------------------------


async def test_concurrent_duplicate_is_409_with_retry_after(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(post(api.http, SESSIONS, wanted("asr-service"), "k"))
    session = await the_session(api)
    meanwhile = await post(api.http, SESSIONS, wanted("asr-service"), "k")
    assert (meanwhile.status, meanwhile.slug, meanwhile.headers["retry-after"]) == (409, "idempotency_conflict", "1")
    await api.say_ready(session.session_id, "asr-service")
    first = await asking
    assert (first.status, first.replayed) == (201, None)
    assert (await post(api.http, SESSIONS, wanted("asr-service"), "k")).same == first.same


async def test_two_hundred_concurrent_duplicates_make_one_room_and_one_invite_per_service(
    api: Api, http: aiohttp.ClientSession
) -> None:
    services = ("asr-service", "llm-service", "tts-service")
    await api.register(*services)
    asking = [asyncio.create_task(post(http, SESSIONS, wanted(*services), "k")) for _ in range(AT_ONCE)]
    refused = [await answer for _, answer in zip(range(AT_ONCE - 1), asyncio.as_completed(asking), strict=False)]
    assert Counter(answer.slug for answer in refused) == {"idempotency_conflict": AT_ONCE - 1}
    session = await the_session(api)
    for service_id in services:
        await api.say_ready(session.session_id, service_id)
    (first,) = [answer for answer in await asyncio.gather(*asking) if answer.status == 201]
    again = await asyncio.gather(*(post(http, SESSIONS, wanted(*services), "k") for _ in range(AT_ONCE)))
    assert [answer.same for answer in again] == [first.same] * AT_ONCE
    assert len(api.livekit.rooms) == len(list(api.parts.store.list())) == 1
    assert api.livekit.invite_count == dict.fromkeys(services, 1)


async def test_disconnected_client_gets_its_session_on_the_next_try(api: Api) -> None:
    """The session goes on without it, and becomes ready without it. Another client, which went away later and had sent
    no key, shows that going away was noticed."""
    await api.register("asr-service")
    asking = asyncio.create_task(post(api.http, SESSIONS, wanted("asr-service"), "k"))
    session = await the_session(api)
    asking.cancel()
    await asyncio.wait([asking])
    await a_client_without_key_went_away(api)
    assert (await post(api.http, SESSIONS, wanted("asr-service"), "k")).slug == "idempotency_conflict"
    await api.say_ready(session.session_id, "asr-service", api.livekit.invites["asr-service"])
    again = await post(api.http, SESSIONS, wanted("asr-service"), "k")
    assert (again.status, again.replayed) == (201, "true")
    assert session.session_id.encode() in again.body


async def test_client_that_disconnects_before_its_body_arrived_makes_nothing(api: Api) -> None:
    head = f"POST {SESSIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await post(api.http, SESSIONS, wanted(), "k")).replayed is None
    assert len(list(api.parts.store.list())) == 1


async def test_waiting_request_is_answered_when_the_process_stops() -> None:
    """The request does not delay the shutdown, though its work goes on without a client."""
    settings, livekit = DevSettings(_env_file=None, server_port=free_port()), LiveKit()
    parts, agent = stand_ins(settings, livekit)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.server_port}") as http:
        api = Api(http, parts, livekit, agent, settings.server_port)
        async with serving(parts):
            await api.register("asr-service")
            asking = asyncio.create_task(post(http, SESSIONS, wanted("asr-service"), "k"))
            await the_session(api)
        answer = await asking
    assert (answer.status, answer.slug) == (503, "unready")
