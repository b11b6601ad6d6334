"""The ways to reach Redis: TLS, a socket, sentinels, a cluster; and what happens when it moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.script import Script
from tests.certificates import Certificates
from tests.redis_groups import ClusterGroup, SentinelGroup
from tests.redis_server import RedisServer
from tests.unit.redis.connections import Connect, connecting
from tests.waiting import eventually

pytestmark = pytest.mark.unit

COUNT = Script("count", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])")


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connecting("test") as connect:
        yield connect


async def counted(connection: RedisConnection) -> int:
    count: int = await connection.run(COUNT, [connection.keys.of("a"), connection.keys.of("b")], [])
    return count


async def count_or_none(connection: RedisConnection) -> int | None:
    try:
        return await counted(connection)
    except RedisAway:
        return None


async def test_tls(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, tls=Certificates(tmp_path / "tls"), password="s3cret") as server:
        assert await counted(connect(server.url)) == 1
        plain = server.url.partition("?")[0]
        assert await counted(connect(f"{plain}?ssl_cert_reqs=none")) == 2
        with pytest.raises(RedisAway, match="certificate is not accepted"):
            await connect(plain).call("PING")
        with pytest.raises(RedisAway, match=r"reset|lost"):
            await connect(plain.replace("rediss", "redis")).call("PING")


async def test_tls_for_another_host(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, tls=Certificates(tmp_path / "tls", host="127.0.0.2")) as server:
        with pytest.raises(RedisAway, match="certificate is not accepted"):
            await connect(server.url).call("PING")
        assert await connect(f"{server.url}&ssl_check_hostname=false").call("PING") == b"PONG"


async def test_a_missing_file_of_authorities_is_said(tmp_path: Path, connect: Connect) -> None:
    with (
        RedisServer(tmp_path, tls=Certificates(tmp_path / "tls")) as server,
        pytest.raises(RedisAway, match="No such file"),
    ):
        await connect(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={tmp_path}/missing.pem").call("PING")


async def test_a_socket_with_a_database(tmp_path: Path, connect: Connect) -> None:
    path = tmp_path / "s"
    with RedisServer(tmp_path, unixsocket=str(path)) as server:
        await connect(f"unix://{path}?db=3").call("SET", "x", "1")
        async with server.client() as client:
            await client.select(3)
            assert await client.get("x") == b"1"


async def test_a_host_that_is_not_found(connect: Connect) -> None:
    with pytest.raises(RedisAway, match="not found"):
        await connect("redis://nowhere.invalid").call("PING")


@pytest.mark.parametrize("fails", ["stop", "freeze"])
async def test_the_replica_takes_over(tmp_path: Path, connect: Connect, fails: str) -> None:
    async with SentinelGroup(tmp_path, password="s3cret") as group:
        connection = connect(group.url)
        assert await counted(connection) == 1
        await connection.call("WAIT", 1, 0, blocks=10)
        with capture_logs() as logs:
            getattr(group.primary, fails)()
            count = await eventually("the replica to serve", lambda: count_or_none(connection))
    assert count == 2
    assert {one["event"] for one in logs} == {"redis_away", "redis_back"}
    assert "s3cret" not in repr([logs, connection])


async def test_a_primary_that_became_a_replica_is_left(tmp_path: Path, connect: Connect) -> None:
    async with SentinelGroup(tmp_path) as group:
        connection = connect(group.url)
        assert await counted(connection) == 1
        await connection.call("WAIT", 1, 0, blocks=10)
        await eventually("the sentinel to let the replica take over", group.fails_over)
        assert await eventually("an answer of the replica", lambda: count_or_none(connection)) == 2
        assert await group.replica.command("GET", connection.keys.of("a")) == b"2"


async def test_sentinels_with_tls(tmp_path: Path, connect: Connect) -> None:
    async with SentinelGroup(tmp_path, tls=Certificates(tmp_path / "tls")) as group:
        assert await counted(connect(group.url)) == 1


async def test_no_sentinel_answers(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, watches="sentinel monitor other 127.0.0.1 1 1\n") as sentinel:
        with pytest.raises(RedisAway) as caught:
            await connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/main").call("PING")
        sentinel.freeze()
        with pytest.raises(RedisAway):
            await connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/main").call("PING")
    assert not caught.value.is_uncertain


async def test_a_cluster_whose_keys_move(tmp_path: Path, connect: Connect) -> None:
    async with ClusterGroup(tmp_path, password="s3cret") as group:
        connection = connect(group.url)
        assert await counted(connection) == 1
        source = await group.owner(connection.keys.changes)
        async with group.moving(connection.keys.changes) as target:
            assert await counted(connection) == 2  # it is asked
        assert await group.owner(connection.keys.changes) is target
        assert target is not source
        assert await counted(connection) == 3
        assert await connection.pipeline([("GET", connection.keys.of(key)) for key in "ab"]) == [b"3", b"3"]
        assert not connection.is_away


async def test_a_cluster_with_tls(tmp_path: Path, connect: Connect) -> None:
    async with ClusterGroup(tmp_path, tls=Certificates(tmp_path / "tls")) as group:
        assert await counted(connect(group.url)) == 1


async def test_a_node_of_a_cluster_fails(tmp_path: Path, connect: Connect) -> None:
    async with ClusterGroup(tmp_path, replicas=True) as group:
        connection = connect(group.url)
        assert await counted(connection) == 1
        await connection.call("WAIT", 1, 0, blocks=10)
        (await group.owner(connection.keys.changes)).stop()
        assert await eventually("its replica to serve", lambda: count_or_none(connection)) == 2


async def test_a_cluster_that_the_url_does_not_tell_of(tmp_path: Path, connect: Connect) -> None:
    async with ClusterGroup(tmp_path) as group:
        owner = await group.owner("sm:{test}:changes")
        for node in group.primaries:
            connection = connect(node.url)
            if node is owner:
                assert await counted(connection) == 1
            else:
                with pytest.raises(RedisAway, match="cluster"):
                    await counted(connection)
