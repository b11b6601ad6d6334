"""The ACL user that docs/settings.md proposes, where the other tests with Redis don't use it: what it may not do, a
cluster, sentinels, and the doctor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from http_api.doctor.finding import CheckVerdict
from http_api.doctor.redis import check_redis
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import Script
from manager_agent.redis.url import read_redis_url
from tests.redis_groups import ClusterGroup, SentinelGroup
from tests.redis_server import RedisServer, documented_rights
from tests.unit.redis.connections import Connect, connecting

pytestmark = pytest.mark.unit

COUNT = Script("count", "redis.call('TIME') return redis.call('INCR', KEYS[1])")
SETTINGS = Path(__file__).parents[3] / "docs"
SENTINELS_RIGHTS = "+@connection +sentinel|masters"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connecting("test") as connect:
        yield connect


async def counted(connection: RedisConnection) -> int:
    count: int = await connection.run(COUNT, [connection.keys.of("n")], [])
    return count


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "sm:{other}:n"),
        ("SET", "n", "1"),
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "requirepass"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("PUBLISH", "sm:{test}:x", "1"),
    ],
    ids=" ".join,
)
async def test_the_acl_user_may_not(tmp_path: Path, connect: Connect, command: tuple[str, ...]) -> None:
    rights = documented_rights("test")
    with RedisServer(tmp_path, username="manager", password="s3cret", rights=rights) as server:
        connection = connect(server.url)
        assert await counted(connection) == 1
        with pytest.raises(RedisAway, match="NOPERM"):
            await connection.call(*command)


async def test_with_it_doctor_knows_all_but_when_snapshots_are_saved(own_redis_server: RedisServer) -> None:
    findings = [one async for one in check_redis(read_redis_url(own_redis_server.url), "test")]
    assert CheckVerdict.WRONG not in {one.verdict for one in findings}
    [persistence] = [one for one in findings if one.check == "redis persistence"]
    assert "not known" in persistence.says


async def test_it_finds_its_node_of_a_cluster(tmp_path: Path, connect: Connect) -> None:
    async with ClusterGroup(tmp_path, is_limited=True) as group:
        connection = connect(group.url)
        assert await counted(connection) == 1
        async with group.moving(connection.keys.of("n")):
            assert await counted(connection) == 2
        assert await counted(connection) == 3


async def test_sentinels_have_a_user_of_their_own(tmp_path: Path, connect: Connect) -> None:
    async with SentinelGroup(tmp_path, is_limited=True) as group:
        await group.sentinel.command("ACL", "SETUSER", "guide", "on", ">s3cret", *SENTINELS_RIGHTS.split())
        connection = connect(f"{group.url}?sentinel_username=guide&sentinel_password=s3cret")
        assert await counted(connection) == 1


@pytest.mark.parametrize("name", ["settings.md", "settings.zh.md"])
def test_both_languages_name_the_same_rights(name: str) -> None:
    text = (SETTINGS / name).read_text()
    assert documented_rights("<DEPLOYMENT>") in text
    assert SENTINELS_RIGHTS in text
