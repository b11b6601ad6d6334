"""Replicas that crash, freeze, join, drain and stop: every session has one owner, and a manager of that one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.replicas import drain, spreading, take_over
from manager_agent.replicas.balance import TOLERANCE
from manager_agent.session import events as ev
from manager_agent.store.stored_session import Ownership
from tests.redis_server import RedisServer
from tests.unit.replicas.cluster import LEASE, Cluster
from tests.unit.waits import until


@pytest.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(redis_server) as cluster:
        yield cluster


@pytest.fixture
async def own_cluster(own_redis_server: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(own_redis_server) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions may be handed over as soon as their managers are there, and rounds are quick."""
    monkeypatch.setattr("manager_agent.replicas.balance.SETTLED", 0.1)
    monkeypatch.setattr(spreading, "INTERVAL", 0.1)


async def test_the_replica_that_opened_a_session_acts_for_it(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    assert (a.running, b.running) == ({"ses_1"}, set())


async def test_sessions_of_a_replica_that_crashed_are_taken_over_by_the_others(cluster: Cluster) -> None:
    a, b, c = [await cluster.add() for _ in range(3)]
    await asyncio.gather(*(a.open(number) for number in range(12)))
    await until(lambda: cluster.settled)
    taken = a.owned
    await cluster.crash(a)
    await cluster.until_settled()
    assert taken <= b.owned | c.owned
    assert b.owned
    assert c.owned
    assert all(one.store.ownership(each).fence > 1 for one in (b, c) for each in taken)


async def test_sessions_that_their_replica_does_not_take_are_taken_by_any_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C is alive and takes nothing."""
    monkeypatch.setattr(take_over, "LEFT_FOR", 0.3)
    a, b, c = [await cluster.add() for _ in range(3)]
    await c.take_over.aclose()
    await asyncio.gather(*(a.open(number) for number in range(6)))
    await until(lambda: cluster.settled)
    await cluster.crash(a)
    await until(lambda: len(b.owned | c.owned) == 6 and cluster.settled)


async def test_a_replica_that_was_cut_off_lets_go_of_what_others_took(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await asyncio.gather(*(a.open(number) for number in range(4)))
    await until(lambda: cluster.settled)
    a.connection.is_cut_off = True
    await until(lambda: len(b.running) == 4)
    for session_id in b.running:  # it does not know yet that another one acts
        with pytest.raises(NotActing):
            a.fences.of(session_id)
    a.connection.is_cut_off = False
    await until(lambda: a.acting.may_act)
    assert not a.running & b.running
    await cluster.until_settled()


async def test_a_replica_that_was_cut_off_briefly_keeps_its_sessions(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    a.connection.is_cut_off = True
    await asyncio.sleep(LEASE / 3)
    a.connection.is_cut_off = False
    await a.membership.renew()
    await cluster.until_settled()
    assert a.store.ownership("ses_1").fence == 1
    assert b.owned == set()


async def test_sessions_stay_with_their_replicas_when_redis_was_away(own_cluster: Cluster) -> None:
    cluster = own_cluster
    a, b = await cluster.add(), await cluster.add()
    await asyncio.gather(a.open(1), b.open(2))
    await cluster.until_settled()
    managers = {each: set(one) for each, one in cluster.livekit.managers.items()}
    cluster.server.freeze()
    await until(lambda: not a.acting.may_act and not b.acting.may_act)
    cluster.server.thaw()
    await until(lambda: a.acting.may_act and b.acting.may_act)
    await asyncio.sleep(LEASE)
    assert (a.owned, b.owned) == ({"ses_1"}, {"ses_2"})
    assert {each: set(one) for each, one in cluster.livekit.managers.items()} == managers


async def test_what_is_observed_while_redis_is_away_is_recorded_later(own_cluster: Cluster) -> None:
    cluster = own_cluster
    a = await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    cluster.server.freeze()
    observed = asyncio.create_task(a.acting_store("ses_1").update("ses_1", ev.WebhookArrived(a.clock())))
    await until(lambda: not a.acting.may_act)
    cluster.server.thaw()
    assert (await observed).webhooks_arrive


async def test_sessions_of_a_replica_that_stopped_are_taken_over_at_once(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    await cluster.stop(a)
    await until(lambda: b.running == {"ses_1"})


async def test_a_new_replica_continues_the_sessions_of_a_deployment_without_any(cluster: Cluster) -> None:
    a = await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    await cluster.crash(a)
    b = await cluster.add()
    await cluster.until_settled()
    assert b.running == {"ses_1"}


async def test_a_session_that_was_being_opened_is_continued(cluster: Cluster) -> None:
    """Its room was asked for, and its replica crashed before LiveKit answered."""
    a, b = await cluster.add(), await cluster.add()
    asked = asyncio.Event()

    async def create(*_: object, **__: object) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    a.rooms.create = create  # type: ignore[method-assign]
    opening = asyncio.create_task(a.open(1))
    await asked.wait()
    opening.cancel()
    await cluster.crash(a)
    await cluster.until_settled()
    session = b.store.get("ses_1")
    assert session.room.sid == "RM_ses_1"
    assert session.manager.attempt == 2


async def test_a_clean_up_that_was_cut_off_is_finished(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()

    async def delete(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    a.rooms.delete = delete  # type: ignore[method-assign]
    await b.store.update("ses_1", ev.SessionClosed(b.clock()))
    await until(lambda: (end := b.store.get("ses_1").end) is not None and end.cleaning_since is not None)
    await cluster.crash(a)
    await until(lambda: b.store.get("ses_1").is_cleaned_up)


async def test_a_replica_that_joins_gets_its_share(cluster: Cluster) -> None:
    a = await cluster.add()
    await asyncio.gather(*(a.open(number) for number in range(20)))
    await cluster.until_settled()
    await cluster.add()
    await until(lambda: max(cluster.shares) <= 10 * (1 + TOLERANCE) and cluster.settled)
    assert sum(cluster.shares) == 20
    assert cluster.livekit.longest_gap == {}, "each manager stayed until the next one was there"


async def test_a_replica_that_drains_hands_everything_over_in_order(cluster: Cluster) -> None:
    a, b, c = [await cluster.add() for _ in range(3)]
    await asyncio.gather(*(a.open(number) for number in range(9)))
    await cluster.until_settled()
    assert await a.drain.finish(60.0) == 0
    assert a.owned == set()
    await cluster.until_settled()
    assert len(b.owned) + len(c.owned) == 9
    assert cluster.livekit.longest_gap == {}


async def test_the_last_replica_keeps_its_sessions_for_the_next_one(cluster: Cluster) -> None:
    a = await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    assert await a.drain.finish(5.0) == 1
    assert a.running == {"ses_1"}


async def test_a_session_that_is_not_settled_is_handed_over_in_the_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manager_agent.replicas.balance.SETTLED", 1000.0)
    monkeypatch.setattr(drain, "LAST_SECONDS", 59.0)
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    assert await a.drain.finish(60.0) == 0
    assert b.owned == {"ses_1"}


async def test_a_session_that_lost_its_control_loop_is_begun_anew(own_cluster: Cluster) -> None:
    """Redis did not say whether an action may begin."""
    cluster = own_cluster
    a = await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    a.orchestrator.let_go("ses_1")
    assert a.running == set()
    await until(lambda: a.running == {"ses_1"})
    assert a.store.ownership("ses_1").fence == 1


async def test_a_session_that_went_away_and_came_back_unnoticed_is_begun_anew(cluster: Cluster) -> None:
    """As when many changes were read as one: it is owned as before, with another fence."""
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    before = a.store.ownership("ses_1")
    a.owner._owner_changed("ses_1", Ownership(a.id, 0), before)
    assert a.running == set()
    await until(lambda: a.running == {"ses_1"})
    await cluster.until_settled()
    assert b.running == set()


async def test_replicas_that_crash_join_and_drain_at_random_lose_no_session(cluster: Cluster) -> None:
    chance = random.Random(13)
    replicas = [await cluster.add() for _ in range(3)]
    await asyncio.gather(*(replicas[number % 3].open(number) for number in range(15)))
    await cluster.until_settled()
    opened = sum(cluster.shares)  # not all of them if a lease lapsed on a busy machine meanwhile
    for _ in range(6):
        victim = chance.choice(cluster.replicas)
        match chance.choice(["crash", "cut off", "drain"]):
            case "crash":
                await cluster.crash(victim)
                await cluster.add()
            case "cut off":
                victim.connection.is_cut_off = True
                await asyncio.sleep(chance.choice([LEASE / 2, 2 * LEASE]))
                victim.connection.is_cut_off = False
            case "drain":
                await victim.drain.finish(60.0)
                await cluster.stop(victim)
                await cluster.add()
        if chance.random() < 0.5:
            await cluster.until_settled()
    await cluster.until_settled()
    assert sum(cluster.shares) == opened
