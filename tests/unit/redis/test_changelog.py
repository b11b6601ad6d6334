"""The log of changes against a real server: what comes, in which order, and when all is read anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from manager_agent.redis.connection import RedisAway
from manager_agent.redis.script import Script, load_script
from tests.redis_groups import ClusterGroup, SentinelGroup
from tests.redis_server import RedisServer
from tests.unit.redis.number_mirror import Mirror, NumberMirror, mirroring
from tests.waiting import eventually

pytestmark = pytest.mark.unit


@pytest.fixture
async def mirror() -> AsyncIterator[Mirror]:
    async with mirroring() as mirror:
        yield mirror


async def test_what_another_wrote_is_there_at_once(redis_server: RedisServer, mirror: Mirror) -> None:
    one, other = await mirror(redis_server), await mirror(redis_server)
    for number in range(20):
        await one.add(number)
        await other.changelog.caught_up()
        assert other.numbers == list(range(number + 1))
    assert other.times_read == 1
    assert other.changelog.lag == 0


async def test_changes_come_without_being_asked_for(redis_server: RedisServer, mirror: Mirror) -> None:
    one, other = await mirror(redis_server), await mirror(redis_server)
    await other.changelog.caught_up()
    for number in range(5):
        await one.add(number)
        await other.has(number)


async def test_many_who_wait_share_one_look(redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(redis_server)
    await one.changelog.caught_up()
    looks: list[str] = []
    one.connection._observe = lambda name, seconds, outcome: looks.append(name)
    await asyncio.gather(*(one.changelog.caught_up() for _ in range(100)))
    assert looks.count("read_changes") <= 3


async def test_ten_thousand_changes_come_in_order(redis_server: RedisServer, mirror: Mirror) -> None:
    one, other = await mirror(redis_server), await mirror(redis_server)
    await other.changelog.caught_up()
    changes = one.connection.keys.changes
    for start in range(0, 10_000, 1000):
        told = [("XADD", changes, "*", "k", "number", "n", n) for n in range(start, start + 1000)]
        await one.connection.pipeline(told)
    await other.changelog.caught_up()
    assert other.numbers == list(range(10_000))
    assert other.times_read == 1


async def test_fewer_changes_are_kept_if_they_are_long(redis_server: RedisServer, mirror: Mirror) -> None:
    connection = (await mirror(redis_server)).connection
    key, tell = connection.keys.changes, load_script("tell_heartbeats")
    fill = Script("fill", "for _ = 1, 5000 do redis.call('XADD', KEYS[1], '*', 'k', 'other') end")
    await connection.run(fill, [key], [])
    await connection.run(tell, [key], ["replica", "short"])
    assert await connection.call("XLEN", key) > 5000
    await connection.run(tell, [key], ["replica", "x" * 65536])
    assert 2047 <= await connection.call("XLEN", key) < 2047 + 200  # whole nodes are removed


async def test_a_trimmed_stream_is_read_anew(redis_server: RedisServer, mirror: Mirror) -> None:
    one, other = await mirror(redis_server), await mirror(redis_server)
    await one.add(1)
    await other.has(1)
    changes = one.connection.keys.changes
    with capture_logs() as logs:
        await one.connection.call(
            "EVAL",
            "redis.call('ZADD', KEYS[2], 2, 2) redis.call('XADD', KEYS[1], '*', 'k', 'x') "
            "return redis.call('XTRIM', KEYS[1], 'MAXLEN', 1)",
            2,
            changes,
            one.connection.keys.of("numbers"),
        )
        await other.changelog.caught_up()
    assert other.numbers == [1, 2]
    assert {entry["reason"] for entry in logs if entry["event"] == "state_read_anew"} == {"changes_missed"}
    assert other.times_read == 2


async def test_an_empty_redis_is_noticed(own_redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(own_redis_server)
    await one.add(1)
    await one.has(1)
    own_redis_server.restart()
    await one.is_read_anew()
    assert one.numbers == []
    await one.add(2)
    await one.has(2)


async def test_a_redis_that_kept_everything_is_not_read_anew(tmp_path: Path, mirror: Mirror) -> None:
    with RedisServer(tmp_path, is_limited=True, persists=True) as server:
        one = await mirror(server)
        await one.add(1)
        await one.has(1)
        server.restart()
        await added(one, 2)
        await one.has(2)
        assert one.numbers == [1, 2]
        assert one.times_read == 1


async def test_deleted_keys_are_noticed(redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(redis_server)
    await one.add(1)
    await one.has(1)
    keys = one.connection.keys
    await one.connection.call("DEL", keys.epoch, keys.changes, keys.of("numbers"))
    await one.changelog.caught_up()
    assert one.numbers == []


async def test_lost_changes_are_noticed_when_newer_ones_came(redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(redis_server)
    await one.add(1)
    await one.add(2)
    await one.has(2)
    keys = one.connection.keys
    with capture_logs() as logs:
        # As after a failover to a replica that lacked the last change: it goes on from there.
        await one.connection.call(
            "EVAL",
            "redis.call('XDEL', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[2], 2) redis.call('ZADD', KEYS[2], 3, 3) "
            "return redis.call('XADD', KEYS[1], '*', 'k', 'number', 'n', 3)",
            2,
            keys.changes,
            keys.of("numbers"),
            one.changelog.position,
        )
        await one.changelog.caught_up()
    assert one.numbers == [1, 3]
    assert [entry["reason"] for entry in logs] == ["redis_lost_data"]


async def test_a_frozen_redis_is_away_and_lags(own_redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(own_redis_server)
    await one.changelog.caught_up()
    own_redis_server.freeze()
    with pytest.raises(RedisAway):
        await one.changelog.caught_up()
    own_redis_server.thaw()
    await one.add(1)
    await one.has(1)
    assert one.times_read == 1


async def test_a_fault_in_one_change_does_not_stop_the_others(redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(redis_server)
    await one.changelog.caught_up()
    with capture_logs() as logs:
        await one.connection.call("XADD", one.connection.keys.changes, "*", "k", "number", "n", "no number")
        await one.add(1)
        await one.has(1)
    assert [entry["kind"] for entry in logs if entry["event"] == "change_not_applied"] == ["number"]


async def test_a_state_that_could_not_be_read_is_read_again(own_redis_server: RedisServer, mirror: Mirror) -> None:
    own_redis_server.stop()
    one = await mirror(own_redis_server)
    with pytest.raises(RedisAway):
        await one.changelog.caught_up()
    own_redis_server.start()
    await one.is_read_anew()
    await one.changelog.caught_up()
    assert one.times_read == 1


async def test_an_ended_connection_is_not_noticed_by_who_reads(redis_server: RedisServer, mirror: Mirror) -> None:
    one = await mirror(redis_server)
    await one.changelog.caught_up()
    for _ in range(20):
        await redis_server.command("CLIENT", "KILL", "TYPE", "normal")
        await one.changelog.caught_up()
    assert one.times_read == 1


async def test_changes_go_on_when_a_replica_of_redis_takes_over(tmp_path: Path, mirror: Mirror) -> None:
    async with SentinelGroup(tmp_path) as group:
        one, other = await mirror(group), await mirror(group)
        await one.add(1)
        await one.connection.call("WAIT", 1, 0, blocks=10)
        await other.has(1)
        group.primary.stop()
        await added(one, 2)
        await other.has(2)
        assert set(other.numbers) == {1, 2}


async def test_changes_go_on_when_a_cluster_moves_them(tmp_path: Path, mirror: Mirror) -> None:
    async with ClusterGroup(tmp_path) as group:
        one, other = await mirror(group), await mirror(group)
        await one.add(1)
        await other.has(1)
        async with group.moving(one.connection.keys.changes):
            await other.changelog.caught_up()
        await one.add(2)
        await other.has(2)
        assert other.times_read == 1


async def added(mirror: NumberMirror, number: int) -> None:
    async def is_added() -> bool:
        try:
            await mirror.add(number)
        except RedisAway:
            return False
        return True

    await eventually("Redis to take a change", is_added)


async def test_it_ends_at_any_moment(redis_server: RedisServer) -> None:
    for _ in range(60):
        one = NumberMirror(redis_server)
        await one.changelog.start()
        requests = [asyncio.ensure_future(one.changelog.caught_up()) for _ in range(3)]
        await asyncio.sleep(random.random() * 0.01)
        await one.aclose()
        await asyncio.gather(*requests, return_exceptions=True)
