"""A session that is handed over: what its replica does for it ends before, and goes on if it stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.redis.connection import RedisAway
from manager_agent.replicas import hand_over
from manager_agent.replicas.hand_over import HandOver
from manager_agent.session import events as ev
from tests.redis_server import RedisServer
from tests.unit.replicas.cluster import Cluster, TestReplica
from tests.unit.waits import until


@pytest.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[Cluster]:
    async with Cluster(redis_server) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _is_not_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manager_agent.replicas.balance.SETTLED", 1000.0)


async def two(cluster: Cluster) -> tuple[TestReplica, TestReplica]:
    """The first one has a session whose manager is there."""
    a, b = await cluster.add(), await cluster.add()
    await a.open(1)
    await cluster.until_settled()
    await asyncio.gather(a.membership.renew(), b.membership.renew())
    return a, b


async def give(a: TestReplica, b: TestReplica) -> bool:
    return await HandOver(a.store, a.membership, a.acts).give(a.store.get("ses_1"), b.id)


def around_take(a: TestReplica, wrapped: Callable[[Callable[[], Awaitable[bool]]], Awaitable[bool]]) -> None:
    """Let the replica do this instead of asking Redis for another owner, which it is given to do."""
    take = a.store.take

    def instead(*args: Any, **options: Any) -> Awaitable[bool]:
        return wrapped(lambda: take(*args, **options))

    a.store.take = instead  # type: ignore[method-assign,assignment]


def acts_of(cluster: Cluster, replica: TestReplica) -> int:
    return sum(act.replica_id == replica.id for act in cluster.livekit.acts)


async def test_what_is_under_way_ends_before_the_session_is_handed_over(cluster: Cluster) -> None:
    a, b = await two(cluster)
    under_way: list[int] = []

    async def taking(take: Callable[[], Awaitable[bool]]) -> bool:
        under_way.append(a.acts._under_way["ses_1"])
        return await take()

    around_take(a, taking)
    a.rooms.answering.clear()
    before = acts_of(cluster, a)
    writing = asyncio.create_task(a.rooms.show_status(a.store.get("ses_1")))
    await until(lambda: acts_of(cluster, a) > before)
    giving = asyncio.create_task(give(a, b))
    await until(lambda: "ses_1" in a.acts._holds)
    a.rooms.answering.set()
    assert await giving
    assert under_way == [0]
    await writing
    await cluster.until_settled()
    assert b.owned == {"ses_1"}


async def test_nothing_is_begun_while_a_session_is_handed_over(cluster: Cluster) -> None:
    a, b = await two(cluster)
    writing: list[asyncio.Task[None]] = []

    async def taking(take: Callable[[], Awaitable[bool]]) -> bool:
        before = acts_of(cluster, a)
        writing.append(asyncio.create_task(a.rooms.show_status(a.store.get("ses_1"))))
        for _ in range(50):
            await asyncio.sleep(0)
        assert acts_of(cluster, a) == before
        return await take()

    around_take(a, taking)
    assert await give(a, b)
    with pytest.raises(LiveKitUnavailable):
        await writing[0]
    await cluster.until_settled()


async def test_a_replica_acts_on_for_a_session_that_is_not_handed_over(cluster: Cluster) -> None:
    a, b = await two(cluster)
    fence, before = a.store.ownership("ses_1").fence, acts_of(cluster, a)
    writing: list[asyncio.Task[None]] = []

    async def taking(_: Callable[[], Awaitable[bool]]) -> bool:
        writing.append(asyncio.create_task(a.rooms.show_status(a.store.get("ses_1"))))
        return False

    around_take(a, taking)
    assert not await give(a, b)
    await writing[0]
    assert acts_of(cluster, a) > before
    assert cluster.livekit.acts[-1].fence == fence
    assert a.running == {"ses_1"}


async def test_a_session_stays_if_what_is_under_way_takes_too_long(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "FINISH_TIMEOUT", 0.01)
    a, b = await two(cluster)
    a.rooms.answering.clear()
    before = acts_of(cluster, a)
    writing = asyncio.create_task(a.rooms.show_status(a.store.get("ses_1")))
    await until(lambda: acts_of(cluster, a) > before)
    assert not await give(a, b)
    a.rooms.answering.set()
    await writing
    assert a.owned == {"ses_1"}


async def test_a_session_is_handed_over_although_the_answer_is_lost(cluster: Cluster) -> None:
    a, b = await two(cluster)
    lost: list[bool] = []

    async def taking(take: Callable[[], Awaitable[bool]]) -> bool:
        answer = await take()
        if not lost:
            lost.append(answer)
            raise RedisAway("lost", is_uncertain=True)
        return answer

    around_take(a, taking)
    assert await give(a, b)
    await cluster.until_settled()
    assert b.owned == {"ses_1"}


async def test_a_replica_that_drains_gets_no_session_although_others_do_not_know_it_yet(cluster: Cluster) -> None:
    a, b = await two(cluster)
    await a.membership._tasks.aclose()  # it hears no more of the others
    await b.drain.start()
    assert not await give(a, b)
    assert a.owned == {"ses_1"}
    await a.membership.start()


async def test_a_replica_that_stopped_gets_no_session_although_others_do_not_know_it_yet(cluster: Cluster) -> None:
    a, b = await two(cluster)
    await a.membership._tasks.aclose()
    await cluster.stop(b)
    assert not await give(a, b)
    assert a.owned == {"ses_1"}
    await a.membership.start()


async def test_replicas_that_all_drain_hand_nothing_to_each_other(cluster: Cluster) -> None:
    a, b = await two(cluster)
    await a.open(2)
    await cluster.until_settled()
    await a.orchestrator.close("ses_2")
    await asyncio.gather(a.drain.start(), b.drain.start())
    await asyncio.gather(a.membership.renew(), b.membership.renew())
    before = {one: a.store.ownership(one) for one in ("ses_1", "ses_2")}
    for replica in (a, b, a, b):
        await replica.spreading.round()
        await replica.spreading.give_all()
    assert {one: a.store.ownership(one) for one in before} == before


async def test_the_next_replica_continues_what_all_that_stopped_at_once_had(cluster: Cluster) -> None:
    a, b = await cluster.add(), await cluster.add()
    await asyncio.gather(*((a, b)[number % 2].open(number) for number in range(6)))
    await cluster.until_settled()
    left = await asyncio.gather(a.drain.finish(3_600.0), b.drain.finish(3_600.0))
    assert sum(left) == 6
    await asyncio.gather(cluster.stop(a), cluster.stop(b))
    c = await cluster.add()
    await until(lambda: len(c.running) == 6)
    await cluster.until_settled()


async def test_fences_only_grow(cluster: Cluster) -> None:
    a, b = await two(cluster)
    first = a.store.ownership("ses_1").fence
    assert await give(a, b)
    await until(lambda: b.running == {"ses_1"})
    second = b.store.ownership("ses_1").fence
    assert await give(b, a)
    await until(lambda: a.running == {"ses_1"})  # it has read by then that it owns the session
    third = a.store.ownership("ses_1").fence
    assert first < second < third
    await cluster.until_settled()
    await a.store.update("ses_1", ev.SessionClosed(a.clock()))
