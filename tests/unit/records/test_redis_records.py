"""Records in Redis: shared by replicas, and what happens while Redis is away, lost what it had, or is full."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from manager_agent.clock import Clock
from manager_agent.records import redis
from manager_agent.records.pending_changes import PendingChanges
from manager_agent.records.records import Kind, Record
from manager_agent.records.redis import EXPIRED_KEPT, SWEEP_INTERVAL, RedisRecords
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway, RedisConnection
from tests.redis_server import RedisServer
from tests.unit.redis_replicas import RedisReplica
from tests.unit.waits import until
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.unit


@dataclass
class Replica:
    """One with a listener for answers."""

    connection: RedisConnection
    changelog: ChangeLog
    records: RedisRecords
    heard: list[tuple[str, bytes | None]] = field(default_factory=list)
    read: list[tuple[set[str], bool]] = field(default_factory=list)
    """The keys that there were, and whether others may have been lost, at each reading anew."""

    def hear(self, record: Record | None, key: str) -> None:
        self.heard.append((key, None if record is None else record.value))

    async def keys(self) -> list[str]:
        await self.records.committed()
        return [record.key for record in await self.records.load(Kind.ANSWER)]


@asynccontextmanager
async def a_replica(
    server: RedisServer, name: str, *, clock: Clock = time.time, pending: PendingChanges | None = None
) -> AsyncIterator[Replica]:
    made = RedisReplica.of(server, name, clock, pending)
    replica = Replica(made.connection, made.changelog, made.records)
    made.records.listen(Kind.ANSWER, replica.hear, lambda keys, lost: replica.read.append((set(keys), lost)))
    async with made.running():
        yield replica


async def test_replicas_are_told_of_each_others_changes_in_order(redis_server: RedisServer) -> None:
    async with a_replica(redis_server, "a") as a, a_replica(redis_server, "b") as b, a_replica(redis_server, "c") as c:
        a.records.put(Kind.ANSWER, "1", b"by a")
        a.records.put(Kind.DELIVERY, "1", b"")
        await a.records.committed()
        await b.changelog.caught_up()
        b.records.put(Kind.ANSWER, "1", b"by b")
        b.records.put(Kind.ANSWER, "2", b"by b")
        await b.records.committed()
        await c.changelog.caught_up()
        c.records.delete(Kind.ANSWER, "2")
        c.records.delete(Kind.ANSWER, "never put")
        await c.records.committed()
        for one in (a, b, c):
            await one.changelog.caught_up()
        assert a.heard == [("1", b"by b"), ("2", b"by b"), ("2", None)]
        assert b.heard == [("1", b"by a"), ("2", None)]
        assert c.heard == [("1", b"by a"), ("1", b"by b"), ("2", b"by b")]
        assert await a.keys() == ["1"]


@pytest.mark.parametrize("last", [b"by a", None])
async def test_a_replica_is_told_of_its_own_change_that_was_written_after_one_that_it_heard_of_since(
    redis_server: RedisServer, last: bytes | None
) -> None:
    """Else it would show what is stored no more, and a replica that starts later something else."""
    a = RedisReplica.of(redis_server, "a", time.time)
    heard: list[bytes | None] = []
    a.records.listen(Kind.ANSWER, lambda record, _: heard.append(None if record is None else record.value))
    async with a_replica(redis_server, "b") as b, a.running(writes=False):
        if last is None:
            a.records.delete(Kind.ANSWER, "k")
        else:
            a.records.put(Kind.ANSWER, "k", last)
        b.records.put(Kind.ANSWER, "k", b"by b")
        await b.records.committed()
        await a.changelog.caught_up()
        assert heard == [b"by b"]
        await a.records.start()
        await a.records.committed()
        await a.changelog.caught_up()
        assert heard == [b"by b", last]


async def test_a_burst_of_changes_reaches_the_others_in_order(redis_server: RedisServer) -> None:
    """More than one script may write, in count and in bytes."""
    async with a_replica(redis_server, "a") as a, a_replica(redis_server, "b") as b:
        for n in range(1_000):
            a.records.put(Kind.ANSWER, str(n), os.urandom(10_000), time.time() + 100)
        assert await a.keys() == [str(n) for n in range(1_000)]
        await b.changelog.caught_up()
        assert [key for key, _ in b.heard] == [str(n) for n in range(1_000)]
        assert not a.records.stats.pending


async def test_expired_records_of_others_are_not_told(redis_server: RedisServer) -> None:
    async with a_replica(redis_server, "a") as a, a_replica(redis_server, "b") as b:
        for key, ends_in in (("over", -1), ("live", 100)):
            a.records.put(Kind.ANSWER, key, b"1", time.time() + ends_in)
        await a.records.committed()
        await b.changelog.caught_up()
        assert b.heard == [("live", b"1")]
        async with a_replica(redis_server, "c") as c:
            assert (c.heard, c.read) == ([("live", b"1")], [({"live"}, True)])


async def test_who_waits_is_told_that_redis_is_away_and_the_change_is_written_once_it_is_back(
    own_redis_server: RedisServer,
) -> None:
    """An empty Redis: what the records had is lost, which the listeners are told."""
    async with a_replica(own_redis_server, "a") as a, a_replica(own_redis_server, "b") as b:
        a.records.put(Kind.ANSWER, "before", b"1")
        await a.records.committed()
        await a.changelog.caught_up()  # otherwise it is written again
        own_redis_server.stop()
        with capture_logs() as logs:
            a.records.put(Kind.ANSWER, "during", b"1")
            for _ in range(2):
                with pytest.raises(RedisAway, match="records are not written"):
                    await a.records.committed()
            with pytest.raises(RedisAway):
                await a.records.read(Kind.ANSWER)
            assert await a.records.load(Kind.ANSWER) == ()
            assert (a.records.stats.pending, a.records.stats.is_failing) == (1, True)
            own_redis_server.start()
            await until(lambda: a.records.stats, lambda stats: not stats.pending and not stats.is_failing)
        await a.records.committed()
        assert [one["event"] for one in logs if one["event"].startswith("records_")] == [
            "records_not_kept",
            "records_not_read",
            "records_kept_again",
        ]
        assert await b.keys() == ["during"]
        await until(lambda: a.read, lambda read: len(read) == 2)
        assert a.read[1] == ({"during"}, True)


async def test_replica_that_is_started_while_redis_is_away_reads_once_it_is_there(
    own_redis_server: RedisServer,
) -> None:
    own_redis_server.stop()
    async with a_replica(own_redis_server, "a") as a:
        a.records.put(Kind.ANSWER, "k", b"1")
        assert a.read == []
        own_redis_server.start()
        await until(lambda: a.read)
        assert a.read[0] == ({"k"}, True)
        assert await a.keys() == ["k"]


async def test_changes_beyond_the_bound_are_given_up_while_redis_is_away(own_redis_server: RedisServer) -> None:
    """Those who listen may put them again, also if Redis itself lost nothing."""
    pending = PendingChanges(changes_max=3)
    async with a_replica(own_redis_server, "a", pending=pending) as a:
        own_redis_server.stop()
        for n in range(5):
            a.records.put(Kind.ANSWER, str(n), b"1")
        assert (a.records.stats.pending, a.records.stats.lost) == (3, 2)
        own_redis_server.start()
        await until(lambda: a.records.stats, lambda stats: not stats.pending)
        assert await a.keys() == ["2", "3", "4"]
        assert ({"2", "3", "4"}, True) in a.read


async def test_changes_that_a_full_redis_did_not_take_in_time_may_be_put_again(own_redis_server: RedisServer) -> None:
    pending = PendingChanges(changes_max=3)
    async with a_replica(own_redis_server, "a", pending=pending) as a:
        await own_redis_server.limit_memory()
        for n in range(5):
            a.records.put(Kind.ANSWER, str(n), b"1")
        await until(lambda: a.records.stats.is_failing)
        await own_redis_server.limit_memory(0)
        await until(lambda: a.read[1:], lambda read: read == [({"2", "3", "4"}, True)])


async def test_full_redis_takes_deletions_and_lets_those_who_wait_for_more_know(own_redis_server: RedisServer) -> None:
    async with a_replica(own_redis_server, "a") as a, a_replica(own_redis_server, "b") as b:
        a.records.put(Kind.ANSWER, "1", b"1" * 100_000)
        await a.records.committed()
        await own_redis_server.limit_memory()
        a.records.delete(Kind.ANSWER, "1")
        await a.records.committed()
        a.records.put(Kind.ANSWER, "2", b"1")
        with pytest.raises(RedisAway):
            await a.records.committed()
        assert [record.key for record in await a.records.load(Kind.ANSWER)] == []
        await own_redis_server.limit_memory(0)
        await until(lambda: a.records.stats, lambda stats: not stats.pending)
        await b.changelog.caught_up()
        assert b.heard == [("1", b"1" * 100_000), ("1", None), ("2", b"1")]


async def test_deletions_are_not_held_up_by_what_a_full_redis_refuses(own_redis_server: RedisServer) -> None:
    async with a_replica(own_redis_server, "a") as a:
        a.records.put(Kind.ANSWER, "1", b"1")
        await a.records.committed()
        await own_redis_server.limit_memory()
        a.records.put(Kind.ANSWER, "2", b"1")
        a.records.delete(Kind.ANSWER, "1")
        await until(lambda: a.records.stats, lambda stats: stats.pending == 1)
        assert await a.records.load(Kind.ANSWER) == []
        await own_redis_server.limit_memory(0)
        await until(lambda: a.records.stats, lambda stats: not stats.pending)
        assert await a.keys() == ["2"]


async def test_a_frozen_redis_keeps_nobody_waiting_for_long(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was sent it may carry out later: it is written again, which changes nothing."""
    monkeypatch.setattr(redis, "PATIENCE", 0.2)
    async with a_replica(own_redis_server, "a") as a, a_replica(own_redis_server, "b") as b:
        own_redis_server.freeze()
        a.records.put(Kind.ANSWER, "k", b"1")
        with pytest.raises(RedisAway):
            await a.records.committed()
        own_redis_server.thaw()
        await until(lambda: a.records.stats, lambda stats: not stats.pending and not stats.is_failing)
        await b.changelog.caught_up()
        assert set(b.heard) == {("k", b"1")}
        assert await a.keys() == ["k"]


async def test_what_was_put_is_written_when_the_records_are_closed(redis_server: RedisServer) -> None:
    async with a_replica(redis_server, "a") as a:
        a.records.put(Kind.ANSWER, "k", b"1")
    async with a_replica(redis_server, "b") as b:
        assert await b.keys() == ["k"]


async def test_closing_says_what_redis_did_not_take(own_redis_server: RedisServer) -> None:
    with capture_logs() as logs:
        async with a_replica(own_redis_server, "a") as a:
            own_redis_server.stop()
            a.records.put(Kind.ANSWER, "k", b"1")
    assert logs[-1]["event"] == "records_not_written"
    assert logs[-1]["changes"] == 1


async def test_replica_that_missed_changes_is_told_that_what_is_gone_was_deleted(redis_server: RedisServer) -> None:
    """Not so if the changelog went back to before what it had read: then records may be lost."""
    async with a_replica(redis_server, "a") as a:
        changes = a.connection.keys.changes
        a.records.put(Kind.ANSWER, "1", b"1")
        a.records.put(Kind.ANSWER, "2", b"1")
        await a.records.committed()
        await a.changelog.caught_up()
        await a.connection.pipeline(
            [
                ("HDEL", a.connection.keys.records(Kind.ANSWER), "2"),
                ("XADD", changes, "*", "k", "other"),
                ("XTRIM", changes, "MAXLEN", 1),
            ]
        )
        await a.changelog.caught_up()
        assert a.read[1:] == [({"1"}, False)]
        await a.connection.call("XADD", changes, "*", "k", "other")
        await a.changelog.caught_up()
        last = a.changelog.position
        await a.connection.pipeline([("XDEL", changes, last), ("XADD", changes, "*", "k", "other")])
        await a.changelog.caught_up()
        assert a.read[2:] == [({"1"}, True)]


async def test_an_acknowledged_change_that_redis_lost_before_anyone_saw_it_is_written_again(
    redis_server: RedisServer,
) -> None:
    """As when it fails over: the changelog goes on without it."""
    async with a_replica(redis_server, "a") as a, a_replica(redis_server, "b") as b:
        await a.changelog.aclose()
        a.records.put(Kind.ANSWER, "1", b"1")
        a.records.put(Kind.ANSWER, "2", b"1")
        await a.records.committed()
        keys = a.connection.keys
        [(lost, _)] = await a.connection.call("XREVRANGE", keys.changes, "+", "-", "COUNT", 1)
        await a.connection.pipeline([("XDEL", keys.changes, lost), ("HDEL", keys.records(Kind.ANSWER), "2")])
        b.records.put(Kind.ANSWER, "3", b"1")
        assert await b.keys() == ["1", "3"]
        await a.changelog.caught_up()
        await eventually("the lost change to be written", b.keys, lambda found: found == ["1", "3", "2"])


async def test_records_that_expired_are_removed_a_while_later(redis_server: RedisServer) -> None:
    """A replica whose clock is behind still gives them until then."""
    now = [1_000.0]
    async with a_replica(redis_server, "a", clock=lambda: now[0]) as a:
        for n in range(1_200):
            a.records.put(Kind.ANSWER, str(n), b"", 1_010.0)
        a.records.put(Kind.ANSWER, "y", b"")
        assert len(await a.keys()) == 1_201
        now[0] = 1_010.0
        assert await a.keys() == ["y"]
        now[0] += max(EXPIRED_KEPT, SWEEP_INTERVAL)
        a.records.put(Kind.ANSWER, "z", b"")
        keys = a.connection.keys
        async with waiting_for("the expired records to be removed", lambda: None):
            while await a.connection.call("HLEN", keys.records(Kind.ANSWER)) != 2:
                await asyncio.sleep(0.01)
        assert await a.connection.call("ZCARD", keys.record_expiries(Kind.ANSWER)) == 0


async def test_records_are_written_although_expired_ones_can_not_be_removed(redis_server: RedisServer) -> None:
    now = [1_000.0]
    async with a_replica(redis_server, "a", clock=lambda: now[0]) as a:
        await a.connection.call("SET", a.connection.keys.record_expiries(Kind.ROOM_NAME), "of another type")
        now[0] += SWEEP_INTERVAL
        with capture_logs() as logs:
            a.records.put(Kind.ANSWER, "x", b"")
            async with waiting_for("the removal to fail", lambda: logs):
                while not logs:
                    await asyncio.sleep(0.01)
            a.records.put(Kind.ANSWER, "y", b"")
            assert await a.keys() == ["x", "y"]
        assert [one["event"] for one in logs] == ["records_fault"]


async def test_a_listener_that_raises_keeps_no_other_from_being_told(redis_server: RedisServer) -> None:
    async with a_replica(redis_server, "a") as a, a_replica(redis_server, "b") as b:

        def raises(_record: Record | None, _key: str) -> None:
            raise RuntimeError("as the test wants it")

        b.records.listen(Kind.DELIVERY, raises)
        with capture_logs() as logs:
            a.records.put(Kind.DELIVERY, "d", b"")
            a.records.put(Kind.ANSWER, "k", b"")
            await a.records.committed()
            await b.changelog.caught_up()
        assert b.heard == [("k", b"")]
        assert [one["event"] for one in logs if one["log_level"] == "error"] == ["records_fault"]
