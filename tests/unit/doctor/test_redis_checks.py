"""What the doctor finds about Redis."""

from __future__ import annotations

import pytest

from http_api.doctor import redis
from http_api.doctor.finding import CheckVerdict, Finding
from manager_agent.redis.url import read_redis_url
from tests.redis_server import LIMITED_PASSWORD, RedisServer

pytestmark = pytest.mark.unit

OK, WARNING, WRONG, SKIPPED = CheckVerdict


async def found(url: str) -> dict[str, Finding]:
    return {finding.check: finding async for finding in redis.check_redis(read_redis_url(url), "default")}


async def test_doctor_finds_what_a_running_redis_lacks(redis_server: RedisServer) -> None:
    findings = await found(redis_server.url)
    assert {check: finding.verdict for check, finding in findings.items()} == {
        redis.REACHED: OK,
        redis.VERSION: OK,
        redis.EVICTION: OK,
        redis.PERSISTENCE: WARNING,
        redis.LATENCY: findings[redis.LATENCY].verdict,
    }
    assert findings[redis.LATENCY].says.endswith("ms") or "ms:" in findings[redis.LATENCY].says


async def test_doctor_says_why_redis_cannot_be_used(own_redis_server: RedisServer) -> None:
    url = own_redis_server.url
    own_redis_server.stop()
    findings = await found(url)
    assert findings.pop(redis.REACHED).verdict is WRONG
    assert {finding.verdict for finding in findings.values()} == {SKIPPED}


async def test_doctor_shows_no_password(own_redis_server: RedisServer) -> None:
    url = own_redis_server.url.replace(LIMITED_PASSWORD, "hidden")
    shown = [finding.says + finding.mend for finding in (await found(url)).values()]
    assert not any("hidden" in says for says in shown)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"redis_version": "6.2.14"}, WRONG),
        ({"redis_version": "7.0.15"}, OK),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, OK),
        ({}, WRONG),
    ],
)
def test_versions_before_7_are_wrong(facts: dict[str, str], verdict: CheckVerdict) -> None:
    assert redis.version(facts).verdict is verdict


def test_eviction_is_wrong_where_the_memory_is_limited() -> None:
    policy = {"maxmemory_policy": "allkeys-lru"}
    assert redis.eviction({**policy, "maxmemory": "0"}).verdict is WARNING
    assert redis.eviction({**policy, "maxmemory": "1000"}).verdict is WRONG
    assert redis.eviction({"maxmemory_policy": "noeviction", "maxmemory": "1000"}).verdict is OK


def test_persistence_without_an_append_only_file_is_a_warning() -> None:
    assert redis.persistence({"aof_enabled": "1"}, "").verdict is OK
    off = {"aof_enabled": "0"}
    findings = [redis.persistence(off, saves) for saves in ("3600 1", "", None)]
    assert {finding.verdict for finding in findings} == {WARNING}
    assert len({finding.says for finding in findings}) == 3


def test_a_redis_that_is_far_away_is_a_warning() -> None:
    assert redis.latency_of(0.0005).verdict is OK
    assert redis.latency_of(0.05).verdict is WARNING
