"""While Redis is away: what needs it is refused, what does not goes on, and it heals by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from manager_agent.redis import refusals
from tests.api.replicas.conftest import StartReplica, acts
from tests.api.stand_ins import Api
from tests.api.streams.feed_reader import Readers
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.api


@pytest.fixture
def server(own_redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """One of this test alone, which keeps what was written when it is restarted."""
    with RedisServer(tmp_path / "persisting", is_limited=True, persists=True) as server:
        yield server


@pytest.fixture
async def a(start_replica: StartReplica, server: RedisServer) -> Api:
    return await start_replica(server)


@pytest.fixture
async def b(start_replica: StartReplica, server: RedisServer, a: Api) -> Api:
    return await start_replica(server)


@pytest.fixture
async def feeds_of_b(b: Api) -> AsyncIterator[Readers]:
    yield (made := Readers(b))
    made.close()


def slug(problem: Any) -> str:
    return str(problem["type"].rpartition(":")[2])


async def test_what_needs_redis_is_refused_with_retry_after_and_heals(
    a: Api, b: Api, server: RedisServer, feeds_of_b: Readers
) -> None:
    await a.register("asr-1")
    session_id = (await a.open({"type": "ASR"}))[2]["session_id"]
    feed = await feeds_of_b.reader()
    await feed.until("snapshot")
    server.stop()
    for method, path in (("GET", f"/sessions/{session_id}"), ("POST", "/sessions"), ("GET", "/microservices")):
        status, headers, problem = await b.ask(method, path, {"user_identity": "alice"} if method == "POST" else None)
        assert (status, slug(problem), headers["Retry-After"]) == (503, "redis_unavailable", "1")
    for path in (f"/sessions/{session_id}/ready", "//livekit/webhook"):  # only what is genuine needs Redis
        forged = {"Authorization": "Bearer forged"}
        assert (await b.ask("POST", path, {"service_id": "asr-1"}, forged))[0] == 401, path
    assert slug((await b.say_ready(session_id, "asr-1"))[2]) == "redis_unavailable"
    [_, redis] = (await feed.until("health", lambda data: data["dependencies"][1]["state"] == "away"))["dependencies"]
    assert redis["name"] == "redis"
    for path in ("//livez", "//health", "//openapi.json", "//", "//metrics"):
        async with b.http.get(path[1:]) as answer:
            assert answer.status == 200, path
    status, headers, problem = await b.ask("GET", "//readyz")
    assert (status, slug(problem)) == (503, "unready")
    assert "Redis is away since" in problem["detail"]
    assert slug((await b.ask("GET", "//health?deep=true"))[2]) == "redis_unavailable"
    again = await feeds_of_b.reader()  # a page that is loaded now shows it
    assert (await again.until("snapshot"))["health"]["dependencies"][1]["state"] == "away"
    server.start()
    await eventually("both replicas act", lambda: both_act(a, b))
    await feed.until("health", lambda data: data["dependencies"][1]["state"] == "up")
    assert (await b.say_ready(session_id, "asr-1"))[0] == 200
    await feed.until("session", lambda data: data["session_id"] == session_id and data["state"] == "ready")
    await eventually("the replica is ready", lambda: a.ask("GET", "//readyz"), lambda answer: answer[0] == 200)


async def test_a_full_redis_is_shown_until_it_has_room(
    a: Api, b: Api, server: RedisServer, feeds_of_b: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "STEADY_AFTER", 0.0)
    await a.register("asr-1")
    session_id = (await a.open({"type": "ASR"}))[2]["session_id"]
    feed = await feeds_of_b.reader()
    await feed.until("snapshot")
    await server.limit_memory()
    refused = await b.ask("POST", "/sessions", {"user_identity": "alice", "required_services": []})
    registration = {"service_id": "asr-2", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
    for status, headers, problem in (
        refused,
        await b.ask("POST", "/microservices/register", registration),
        await b.ask("DELETE", "/microservices/asr-1"),
        await b.ask("POST", "/microservices/asr-1/heartbeat", {"draining": True}),
    ):
        assert (status, slug(problem), headers["Retry-After"]) == (503, "redis_unavailable", "1")
    for api in (a, b):  # what was refused is known nowhere
        services = (await api.ask("GET", "/microservices"))[2]["services"]
        assert [(one["service_id"], one["state"]) for one in services] == [("asr-1", "healthy")]
    said = await feed.until("health", lambda data: data["dependencies"][1]["state"] == "refuses_writes")
    assert said["dependencies"][1]["detail"] == "out of memory (OOM)"
    for path in ("//readyz", "//health"):
        status, _, answer = await b.ask("GET", path)
        assert (status, answer["redis"]["state"]) == (200, "refuses_writes")
        assert "out of memory" in answer["redis"]["detail"]
    assert "session_manager_redis_refuses_writes 1.0" in await metrics_of(b)
    assert (await b.say_ready(session_id, "asr-1"))[0] == 200  # what is there goes on
    await server.limit_memory(0)
    await feed.until("health", lambda data: data["dependencies"][1]["state"] == "up")
    assert (await b.ask("GET", "//readyz"))[2]["redis"]["state"] == "up"
    assert "session_manager_redis_refuses_writes 0.0" in await metrics_of(b)
    assert (await b.open())[0] == 201
    assert (await b.ask("POST", "/microservices/register", registration))[0] == 201


async def metrics_of(api: Api) -> str:
    async with api.http.get("/metrics") as answer:
        return await answer.text()


async def both_act(a: Api, b: Api) -> bool:
    return await acts(a) and await acts(b)


async def test_a_replica_starts_while_redis_is_away(start_replica: StartReplica, server: RedisServer) -> None:
    server.stop()
    api = await start_replica(server, is_awaited=False)
    assert (await api.ask("GET", "//livez"))[0] == 200
    assert (await api.ask("GET", "//readyz"))[0] == 503
    status, headers, problem = await api.ask("GET", "/sessions")
    assert (status, slug(problem), headers["Retry-After"]) == (503, "redis_unavailable", "1")
    server.start()
    await eventually("the replica acts", lambda: acts(api))
    assert (await api.open())[0] == 201
    body = {"service_id": "asr-1", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
    assert (await api.ask("POST", "/microservices/register", body))[0] == 201
    keyed = {"Idempotency-Key": "k1"}
    first, repeated = [
        (await api.ask("POST", "/sessions", {"user_identity": "bob", "required_services": []}, keyed))[2]
        for _ in range(2)
    ]
    assert first == repeated


async def test_what_was_written_before_is_there_for_a_replica_that_starts_later(
    start_replica: StartReplica, server: RedisServer
) -> None:
    a = await start_replica(server)
    await a.register("asr-1")
    session_id = (await a.open({"type": "ASR"}))[2]["session_id"]
    body, keyed = {"user_identity": "bob", "required_services": [], "room_name": "lobby"}, {"Idempotency-Key": "k1"}
    kept = (await a.ask("POST", "/sessions", body, keyed))[2]
    b = await start_replica(server)
    assert (await b.ask("GET", f"/sessions/{session_id}"))[2]["state"] == "waiting"
    assert (await b.ask("GET", "/microservices/asr-1"))[0] == 200
    assert (await b.ask("POST", "/sessions", body, keyed))[2] == kept
    assert (await b.say_ready(session_id, "asr-1"))[0] == 200
