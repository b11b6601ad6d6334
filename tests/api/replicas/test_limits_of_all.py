"""Rate limits, quotas, the capacity of services and idempotency keys hold for all replicas together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any

import pytest

from http_api.access.api_keys import digest_of
from http_api.settings.settings import Settings
from manager_agent.registry.services import RegisteredService
from tests.api.replicas.conftest import StartReplica
from tests.api.stand_ins import Api
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.api

ALICE = {"Authorization": "Bearer sm_alice"}
ASR = {"user_identity": "alice", "required_services": [{"type": "ASR"}]}


async def three(start: StartReplica, server: RedisServer, **settings: Any) -> list[Api]:
    """Three replicas with the caller Alice."""
    chosen = {
        "livekit_api_key": "key",
        "livekit_api_secret": "a secret of this test",
        "api_keys": f"alice:{digest_of('sm_alice')}:sessions+services",
        **settings,
    }
    return [await start(server, Settings, **chosen) for _ in range(3)]


async def register(api: Api, capacity: int) -> None:
    body = {"service_id": "asr-1", "endpoint": "http://10.0.0.1:1/", "metadata": {"type": "ASR"}, "capacity": capacity}
    status, _, answer = await api.ask("POST", "/microservices/register", body, ALICE)
    assert status == 201, answer


async def create(api: Api, room_name: str | None = None, **headers: str) -> tuple[int, Any]:
    """The answer to a client that tries again as long as the machine is too busy for Redis to be asked in time."""
    asked = {**ALICE, "Prefer": "respond-async", **{name.replace("_", "-"): value for name, value in headers.items()}}
    while True:
        status, _, answer = await api.ask("POST", "/sessions", {**ASR, "room_name": room_name}, asked)
        if status != 503 or slug(answer) != "redis_unavailable":
            return status, answer


def outcomes(answers: Sequence[tuple[int, Any]]) -> Counter[str]:
    """The number of answers with each problem; empty: the session was accepted."""
    return Counter("" if status == 202 else slug(answer) for status, answer in answers)


async def knows_all(api: Api) -> None:
    """Return once this replica knows what was written through the others."""
    assert (await api.ask("GET", "/sessions", headers=ALICE))[0] == 200


def found_services(api: Api) -> Counter[str]:
    """The services of the live sessions."""
    sessions = (session for session in api.parts.store.list() if not session.over)
    return Counter(service.service_id for session in sessions for service in session.services)


def slug(problem: Any) -> str:
    return str(problem["type"].rpartition(":")[2])


async def test_one_rate_limit_holds_for_all_replicas(start_replica: StartReplica, redis_server: RedisServer) -> None:
    replicas = await three(start_replica, redis_server, rate_limit=0.01, rate_limit_burst=30)
    asking = [api.ask("GET", "/sessions", headers=ALICE) for api in replicas for _ in range(20)]
    statuses = Counter(status for status, *_ in await asyncio.gather(*asking))
    assert statuses == {200: 30, 429: 30}


async def test_a_service_never_has_more_sessions_than_its_capacity(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000)
    await register(replicas[0], 40)
    answers = await asyncio.gather(*(create(replicas[nth % 3]) for nth in range(100)))
    found = outcomes(answers)
    assert found.keys() == {"", "service_not_available"}
    assert found[""] <= 40  # a session that was stored without an answer is one of them
    shown = [(await api.ask("GET", "/microservices/asr-1", headers=ALICE))[2]["in_flight"] for api in replicas]
    assert shown == [40] * 3


async def test_a_full_service_stays_full_when_redis_has_lost_its_sessions(
    start_replica: StartReplica, own_redis_server: RedisServer
) -> None:
    """Each replica knows them, and puts back its own."""
    replicas = await three(start_replica, own_redis_server, rate_limit_burst=1_000)
    await register(replicas[0], 12)
    await asyncio.gather(*(create(replicas[nth % 3]) for nth in range(20)))
    for api in replicas:
        await knows_all(api)
    await own_redis_server.flush()
    answers = await asyncio.gather(*(create(replicas[nth % 3]) for nth in range(30)))
    assert outcomes(answers) == {"service_not_available": 30}
    for api in replicas:
        await knows_all(api)
        assert found_services(api) == {"asr-1": 12}


async def test_a_full_service_is_replaced_by_another_one(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000)
    await register(replicas[0], 20)
    body = {"service_id": "asr-2", "endpoint": "http://10.0.0.2:1/", "metadata": {"type": "ASR"}, "capacity": 20}
    await replicas[1].ask("POST", "/microservices/register", body, ALICE)
    answers = await asyncio.gather(*(create(replicas[nth % 3]) for nth in range(40)))
    await knows_all(replicas[0])
    assert found_services(replicas[0]) == {"asr-1": 20, "asr-2": 20}
    assert outcomes(answers)[""] > 20


async def test_the_quota_of_a_caller_holds_for_all_replicas(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000, sessions_per_caller=10)
    await register(replicas[0], 100)
    answers = await asyncio.gather(*(create(replicas[nth % 3]) for nth in range(45)))
    found = outcomes(answers)
    assert found.keys() == {"", "too_many_sessions"}
    await knows_all(replicas[0])
    assert replicas[0].parts.store.counts.live_of("alice") == 10


async def test_a_caller_opens_as_many_sessions_as_it_leaves_places_through_all_replicas(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000, creates_in_flight=20)
    await register(replicas[0], 100)
    replicas[0].livekit.is_slow = True

    async def refused() -> int:
        return len(done(creating))

    creating = [asyncio.create_task(create(replicas[nth % 3])) for nth in range(100)]
    await eventually("all others are refused", refused, lambda number: number == 90)
    assert {slug(answer) for _, answer in done(creating)} == {"overloaded"}
    await knows_all(replicas[0])
    assert replicas[0].parts.store.counts.in_making_of("alice") == 10
    replicas[0].livekit.makes_rooms.set()
    assert outcomes(await asyncio.gather(*creating))[""] == 10


def done(tasks: Sequence[asyncio.Task[tuple[int, Any]]]) -> list[tuple[int, Any]]:
    return [task.result() for task in tasks if task.done()]


async def test_a_room_name_is_given_to_one_of_many_sessions_at_once(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000)
    await register(replicas[0], 100)
    answers = await asyncio.gather(*(create(replicas[nth % 3], room_name="lobby") for nth in range(100)))
    found = outcomes(answers)
    assert found.keys() <= {"", "room_name_taken"}
    for api in replicas:
        await knows_all(api)
        assert [session.room_name for session in api.parts.store.list()] == ["lobby"]


async def test_of_requests_with_one_key_at_once_one_is_executed(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, rate_limit_burst=1_000)
    await register(replicas[0], 100)
    answers = await asyncio.gather(*(create(api, Idempotency_Key="k1") for api in replicas for _ in range(5)))
    created = [answer for status, answer in answers if status == 202]
    refused = [answer for status, answer in answers if status == 409]
    assert len(created) + len(refused) == 15
    assert {slug(answer) for answer in refused} <= {"idempotency_conflict"}
    assert len({session["session_id"] for session in created}) == 1
    for api in replicas:
        again = partial(create, api, Idempotency_Key="k1")
        assert await eventually("the stored response", again, ok) == (202, created[0])
    sessions = (await replicas[0].ask("GET", "/sessions", headers=ALICE))[2]["sessions"]
    assert len(sessions) == 1


def ok(answer: tuple[int, Any]) -> bool:
    return answer[0] == 202


async def test_a_key_is_refused_for_another_request_at_another_replica(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    one, other, _ = await three(start_replica, redis_server)
    await register(one, 100)
    assert (await create(one, Idempotency_Key="k1"))[0] == 202
    headers = {**ALICE, "Idempotency-Key": "k1"}
    status, _, problem = await other.ask("POST", "/sessions", {**ASR, "user_identity": "bob"}, headers)
    assert (status, slug(problem)) == (422, "idempotency_key_reused")


BOB = {"Authorization": "Bearer sm_bob"}


def callers() -> str:
    return ",".join(f"{name}:{digest_of(f'sm_{name}')}:sessions+services" for name in ("alice", "bob"))


async def register_named(api: Api, service_id: str, caller: dict[str, str]) -> tuple[int, Any]:
    """The answer to a client that tries again as long as the machine is too busy for Redis to be asked in time."""
    body = {"service_id": service_id, "agent_name": f"agent-{service_id}", "metadata": {"type": "ASR"}}
    while True:
        status, _, answer = await api.ask("POST", "/microservices/register", body, caller)
        if status != 503 or slug(answer) != "redis_unavailable":
            return status, answer


async def registered(api: Api) -> Sequence[RegisteredService]:
    await knows_all(api)
    return api.parts.registry.list()


async def test_the_quotas_of_services_hold_for_all_replicas(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    settings = {"api_keys": callers(), "services_per_caller": 30, "services_max": 50, "rate_limit_burst": 1_000}
    replicas = await three(start_replica, redis_server, **settings)
    asking = [
        register_named(replicas[nth % 3], f"asr-{nth}", caller) for nth, caller in enumerate([ALICE] * 50 + [BOB] * 50)
    ]
    statuses = {status for status, _ in await asyncio.gather(*asking)}
    assert statuses <= {200, 201, 429, 503}  # 200: the answer to an earlier try was lost
    names = count()

    async def owners_after_more() -> Counter[str]:
        for caller in (ALICE, BOB):
            await register_named(replicas[next(names) % 3], f"later-{next(names)}", caller)
        return Counter(service.owner for service in await registered(replicas[0]))

    for _ in range(5):
        owners = await eventually("all places are taken", owners_after_more, lambda owners: owners.total() >= 50)
        assert owners.total() == 50
        assert max(owners.values()) <= 30


async def test_an_id_and_an_agent_get_one_owner_of_several_who_register_it_at_once(
    start_replica: StartReplica, redis_server: RedisServer
) -> None:
    replicas = await three(start_replica, redis_server, api_keys=callers(), rate_limit_burst=1_000)
    for nth in range(10):
        asking = (
            register_named(replicas[(nth + at) % 3], f"asr-{nth}", caller) for at, caller in enumerate((ALICE, BOB))
        )
        both = [status for status, _ in await asyncio.gather(*asking)]
        assert 409 in both
        winners = [name for name, status in zip(("alice", "bob"), both, strict=True) if status != 409]
        for api in replicas:
            owners = [service.owner for service in await registered(api) if service.service_id == f"asr-{nth}"]
            assert owners == winners
