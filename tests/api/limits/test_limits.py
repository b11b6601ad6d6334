"""Rate limits and quotas of sessions; refusals say when to try again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from http_api.access.api_keys import digest_of
from http_api.settings.settings import Settings
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api

SLOW = {"rate_limit": 0.01, "rate_limit_burst": 5}
"""Five requests, then none for the rest of the test."""
ALICE, BOB, ANONYMOUS = ({"Authorization": f"Bearer sm_{name}"} for name in ("alice", "bob", "nobody"))
VITAL = ("/livez", "/readyz", "/health")


async def start(start_api: StartApi, **settings: Any) -> Api:
    """An API with the callers Alice and Bob, each with a key."""
    return await start_api(
        Settings,
        livekit_api_key="key",
        livekit_api_secret="a secret of this test",
        api_keys=",".join(f"{name}:{digest_of('sm_' + name)}" for name in ("alice", "bob")),
        **settings,
    )


async def statuses(api: Api, times: int, path: str, headers: dict[str, str] | None = None) -> list[int]:
    return [(await api.ask("GET", path, headers=headers))[0] for _ in range(times)]


def slug(problem: Any) -> str:
    return str(problem["type"].rpartition(":")[2])


# --- requests a second ------------------------------------------------------------------------------


async def test_requests_beyond_the_burst_get_429_with_retry_after(start_api: StartApi) -> None:
    api = await start(start_api, **SLOW)
    assert await statuses(api, 5, "/sessions", ALICE) == [200] * 5
    status, headers, problem = await api.ask("GET", "/sessions", headers=ALICE)
    assert (status, slug(problem), headers["Content-Type"]) == (429, "rate_limited", "application/problem+json")
    assert 90 < int(headers["Retry-After"]) <= 100
    assert headers["RateLimit-Policy"] == '"default";q=5;w=500'
    assert headers["RateLimit"] == f'"default";r=0;t={headers["Retry-After"]}'


async def test_every_answer_shows_the_remaining_requests_in_ratelimit(start_api: StartApi) -> None:
    api = await start(start_api, **SLOW)
    left = [(await api.ask("GET", path, headers=ALICE))[1]["RateLimit"] for path in ("/sessions", "/sessions/nope")]
    assert [state.partition(";t=")[0] for state in left] == ['"default";r=4', '"default";r=3']


async def test_rate_limit_counts_each_caller_separately(start_api: StartApi) -> None:
    api = await start(start_api, **SLOW)
    await statuses(api, 10, "/sessions", ALICE)
    assert await statuses(api, 1, "/sessions", BOB) == [200]


async def test_unauthenticated_requests_are_limited_by_address(start_api: StartApi) -> None:
    """Even on unknown paths. Callers and services of the same address that prove who they are are not affected."""
    api = await start(start_api, **SLOW)
    assert await statuses(api, 5, "//nowhere") == [404] * 5
    assert await statuses(api, 1, "//nowhere") == [429]
    assert await statuses(api, 6, "//openapi.json") == [200] * 5 + [429]
    status, _, problem = await api.ask("POST", "/sessions/ses_1/ready", {"service_id": "asr-service"})
    assert (status, slug(problem)) == (401, "unauthorized")
    assert await statuses(api, 1, "/sessions", ALICE) == [200]


async def test_failed_authentication_is_limited_by_address(start_api: StartApi) -> None:
    """Right keys are still served: all clients behind a proxy have one address."""
    api = await start(start_api, **SLOW)
    assert await statuses(api, 5, "/sessions", ANONYMOUS) == [401] * 5
    assert await statuses(api, 2, "/sessions", ANONYMOUS) == [429] * 2
    assert await statuses(api, 1, "//health?deep=true", ANONYMOUS) == [429]
    assert await statuses(api, 1, "/sessions", ALICE) == [200]


async def test_health_probes_and_webhooks_are_not_rate_limited(start_api: StartApi) -> None:
    """Neither are LiveKit's webhooks."""
    api = await start(start_api, **SLOW)
    await statuses(api, 10, "//nowhere")
    await statuses(api, 10, "/sessions", ANONYMOUS)
    for path in VITAL:
        assert await statuses(api, 20, "/" + path) == [200] * 20
        assert "RateLimit" not in (await api.ask("GET", "/" + path))[1]
    unsigned = [(await api.ask("POST", "//livekit/webhook", {}))[0] for _ in range(20)]
    assert unsigned == [401] * 20


async def test_dev_mode_on_loopback_has_no_rate_limit(start_api: StartApi) -> None:
    api = await start_api(**SLOW)
    assert await statuses(api, 20, "/sessions") == [200] * 20
    assert await statuses(api, 20, "//nowhere") == [404] * 20


# --- sessions at once -------------------------------------------------------------------------------


async def answers_at_once(
    api: Api, times: int, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[int, str]]:
    """Yield the answers as they arrive: status, and slug of a problem."""
    body = {"user_identity": "alice", "required_services": []}

    async def ask(http: aiohttp.ClientSession) -> tuple[int, str]:
        async with http.post("/api/v1/sessions", json=body, headers=headers) as answer:
            said = await answer.json()
            if answer.status in (429, 503):
                assert int(answer.headers["Retry-After"]) >= 1
            return answer.status, "" if answer.status < 300 else slug(said)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}", connector=connector) as http:
        for answer in asyncio.as_completed([ask(http) for _ in range(times)]):
            yield await answer


async def open_at_once(api: Api, times: int, headers: dict[str, str] | None = None) -> Counter[tuple[int, str]]:
    """How often each answer was given."""
    return Counter([answer async for answer in answers_at_once(api, times, headers)])


async def test_three_hundred_concurrent_creates_stop_at_sessions_per_caller(start_api: StartApi) -> None:
    """Another caller still has its own quota."""
    api = await start(start_api, sessions_per_caller=20, rate_limit_burst=1_000)
    assert await open_at_once(api, 300, ALICE) == {(201, ""): 20, (429, "too_many_sessions"): 280}
    assert len(api.livekit.rooms) == 20
    assert await open_at_once(api, 1, BOB) == {(201, ""): 1}


async def test_three_hundred_concurrent_creates_stop_at_sessions_max(start_api: StartApi) -> None:
    """Even in dev mode, which has no limit per caller."""
    api = await start_api(sessions_max=30, sessions_per_caller=1)
    assert await open_at_once(api, 300) == {(201, ""): 30, (503, "overloaded"): 270}
    assert len(api.livekit.rooms) == 30


async def test_three_hundred_concurrent_creates_stop_at_creates_in_flight(start_api: StartApi) -> None:
    """Further creates succeed once those rooms are made."""
    api = await start_api(creates_in_flight=10)
    api.livekit.is_slow = True
    answers: Counter[tuple[int, str]] = Counter()
    async for answer in answers_at_once(api, 300):
        answers[answer] += 1
        if answers.total() == 290:
            assert api.parts.store.counts.in_making == 10
            api.livekit.makes_rooms.set()
    assert answers == {(503, "overloaded"): 290, (201, ""): 10}
    assert await open_at_once(api, 1) == {(201, ""): 1}


async def test_one_caller_leaves_places_for_the_creates_of_others(start_api: StartApi) -> None:
    """Of ten places: five for a caller alone, then three of the other five."""
    api = await start(start_api, creates_in_flight=10)
    api.livekit.is_slow = True
    alice, bob = answers_at_once(api, 8, ALICE), answers_at_once(api, 8, BOB)
    assert [await anext(alice) for _ in range(3)] == [(503, "overloaded")] * 3
    assert [await anext(bob) for _ in range(5)] == [(503, "overloaded")] * 5
    assert api.parts.store.counts.in_making == 8
    api.livekit.makes_rooms.set()
    assert [answer async for answer in alice] + [answer async for answer in bob] == [(201, "")] * 8


async def test_ended_session_frees_its_place_in_the_quota(start_api: StartApi) -> None:
    api = await start(start_api, sessions_per_caller=1)
    body = {"user_identity": "alice", "required_services": []}
    _, headers, _ = await api.ask("POST", "/sessions", body, ALICE)
    assert (await api.ask("POST", "/sessions", body, ALICE))[0] == 429
    await api.ask("DELETE", headers["Location"].removeprefix("/api/v1"), headers=ALICE)
    assert (await api.ask("POST", "/sessions", body, ALICE))[0] == 201


async def test_replayed_answer_needs_no_place_in_the_quota(start_api: StartApi) -> None:
    """It creates no session. A refusal because of the quota is not kept."""
    api = await start(start_api, sessions_per_caller=1)
    body, keyed = {"user_identity": "alice", "required_services": []}, ALICE | {"Idempotency-Key": "k"}
    _, _, made = await api.ask("POST", "/sessions", body, keyed)
    assert (await api.ask("POST", "/sessions", body, keyed))[2] == made
    other = ALICE | {"Idempotency-Key": "other"}
    assert (await api.ask("POST", "/sessions", body, other))[0] == 429
    await api.ask("DELETE", f"/sessions/{made['session_id']}", headers=ALICE)
    assert (await api.ask("POST", "/sessions", body, other))[0] == 201


async def test_overload_is_answered_before_the_body_is_read(start_api: StartApi) -> None:
    """The body is never sent here."""
    api = await start_api(sessions_max=1)
    await open_at_once(api, 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    lines = "Host: localhost", "Content-Type: application/json", "Content-Length: 60000"
    writer.write("\r\n".join(["POST /api/v1/sessions HTTP/1.1", *lines, "", ""]).encode())
    assert (await reader.readline()).split()[1] == b"503"
    writer.close()


# --- what comes in is bounded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /" + "x" * 9_000 + " HTTP/1.1\r\nHost: x\r\n", b"414"),
        ("GET /livez?" + "x" * 9_000 + " HTTP/1.1\r\nHost: x\r\n", b"414"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nX: " + "x" * 33_000 + "\r\n", b"431"),
        ("GET /livez HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{n}: x\r\n" for n in range(200)), b"431"),
    ],
    ids=["path", "query", "header", "headers"],
)
async def test_oversized_request_head_is_refused(api: Api, head: str, status: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head.encode() + b"\r\n")
    assert (await reader.readline()).split()[1] == status
    writer.close()


async def test_query_with_thousands_of_parameters_is_422(api: Api) -> None:
    query = "&".join(f"p{n}" for n in range(1_200))
    status, _, problem = await api.ask("GET", f"/sessions?{query}")
    assert (status, len(problem["errors"]), problem["more_errors"]) == (422, 20, 1_180)


def reserve(api: Api, owner: str, times: int) -> None:
    """As many sessions of this caller as that have given out tokens and ended."""
    expires_at = time.time() + 180
    for n in range(times):
        api.parts.room_names.issued(f"{owner}-{n}", f"ses_{owner}{n}", owner, expires_at, is_recognized=True)


async def test_caller_with_too_many_reserved_room_names_opens_no_session(start_api: StartApi) -> None:
    """With a name or without one; its reservations stay. Others are not affected."""
    api = await start(start_api, room_names_per_caller=3)
    reserve(api, "alice", 3)
    assert await open_at_once(api, 1, ALICE) == {(429, "too_many_room_names"): 1}
    assert await open_at_once(api, 1, BOB) == {(201, ""): 1}
    assert api.parts.room_names.is_reserved("alice-0")


async def test_too_many_reserved_room_names_in_all_are_503(start_api: StartApi) -> None:
    api = await start(start_api, room_names_max=5)
    reserve(api, "others", 5)
    assert await open_at_once(api, 1, BOB) == {(503, "overloaded"): 1}
