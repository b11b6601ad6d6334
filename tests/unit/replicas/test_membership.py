"""Replicas and their leases on a real Redis: who is there, who leads, and who may act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from manager_agent.not_acting import NotActing
from tests.redis_server import RedisServer
from tests.unit.replicas.cluster import LEASE, Cluster, TestReplica
from tests.unit.waits import until


@pytest.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(redis_server) as cluster:
        yield cluster


@pytest.fixture
async def own_cluster(own_redis_server: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(own_redis_server) as cluster:
        yield cluster


def alive(replica: TestReplica) -> set[str]:
    return set(replica.membership.roll.alive)


async def test_replicas_find_each_other_and_one_of_them_leads(cluster: Cluster) -> None:
    a, b, c = [await cluster.add() for _ in range(3)]
    for one in (a, b, c):
        await until(lambda one=one: alive(one) == {a.id, b.id, c.id})  # type: ignore[misc]
    assert [one.membership.is_leader for one in (a, b, c)] == [True, False, False]
    assert len({one.acting.worker_name("m") for one in (a, b, c)}) == 3


async def test_a_replica_that_leaves_is_gone_at_once_and_another_one_leads(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await cluster.stop(a)
    await b.membership.renew()
    assert alive(b) == {b.id}
    assert b.membership.roll.is_dead(a.id)
    assert b.membership.is_leader


async def test_a_replica_that_crashes_is_dead_when_its_lease_has_lapsed(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await cluster.crash(a)
    with capture_logs() as logs:
        await b.membership.renew()
        assert not b.membership.roll.is_dead(a.id)
        await until(lambda: b.membership.is_leader)
    assert b.membership.roll.is_dead(a.id)
    assert [line["replica"] for line in logs if line["event"] == "lease_lapsed"] == [a.id]
    assert [line["replica"] for line in logs if line["event"] == "leader_changed"] == [b.id]


async def test_a_replica_that_is_cut_off_acts_no_more_and_says_why(cluster: Cluster) -> None:
    a = await cluster.add()
    a.connection.is_cut_off = True
    await until(lambda: not a.acting.may_act)
    assert "lapsed" in a.acting.why_not
    assert not await a.acting.held()
    with pytest.raises(NotActing):
        await a.acting.require()
    waiting = asyncio.create_task(a.acting.until_acting())
    a.connection.is_cut_off = False
    await waiting
    assert a.acting.may_act


async def test_after_redis_was_away_no_replica_is_judged_dead_for_a_lease(own_cluster: Cluster) -> None:
    cluster = own_cluster
    a, b = await cluster.add(), await cluster.add()
    cluster.server.stop()
    await until(lambda: not a.acting.may_act and not b.acting.may_act)
    await asyncio.sleep(LEASE)  # their leases lapse in any case
    a.connection.is_cut_off = True
    cluster.server.start()
    await until(lambda: b.acting.may_act)
    assert not b.membership.roll.is_dead(a.id)
    assert 0 < b.membership.roll.grace <= LEASE
    await until(lambda: b.membership.roll.is_dead(a.id))
    a.connection.is_cut_off = False
    await until(lambda: a.acting.may_act)


async def test_a_replica_that_drains_gives_up_the_lead(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await a.drain.start()
    await until(lambda: b.membership.is_leader)
    assert b.membership.roll.alive[a.id].is_draining
    assert [one.replica_id for one in b.membership.roll.takers] == [b.id]
    assert not a.membership.is_leader


async def test_a_clock_of_redis_that_goes_back_makes_no_lease_longer(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    keys = a.connection.keys
    await cluster.crash(b)
    await a.connection.call("ZADD", keys.leases, 9e15, b.id)
    await a.connection.call("HSET", keys.leader, "heard", int(9e15))
    await until(lambda: a.membership.roll.is_dead(b.id))


async def test_what_another_version_tells_about_itself_is_read_as_far_as_known(cluster: Cluster) -> None:
    a = await cluster.add()
    keys = a.connection.keys
    for replica_id, told in (("x", "not JSON"), ("y", "[]"), ("z", '{"sessions": "many", "address": "http://z"}')):
        await a.connection.call("ZADD", keys.leases, 9e12, replica_id)
        await a.connection.call("HSET", keys.replicas, replica_id, told)
    await until(lambda: {"x", "y", "z"} <= alive(a))
    roll = a.membership.roll
    assert [roll.alive[one].sessions for one in ("x", "y", "z")] == [0, 0, 0]
    assert roll.alive["z"].address == "http://z"


async def test_the_new_leader_is_told_once_that_it_leads(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    told: list[str] = []
    b.membership.when_leading(lambda: told.append("leads"))
    await cluster.stop(a)
    await until(lambda: b.membership.is_leader)
    await b.membership.renew()
    await b.membership.renew()
    assert told == ["leads"]


async def test_a_clock_that_differs_from_redis_is_told_once(cluster: Cluster) -> None:
    a = await cluster.add()
    a.membership._wall_clock = lambda: 0.0
    with capture_logs() as logs:
        await a.membership.renew()
        await a.membership.renew()
    assert [line["event"] for line in logs if line["event"] == "clock_differs"] == ["clock_differs"]
