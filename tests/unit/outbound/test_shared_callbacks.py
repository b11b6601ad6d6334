"""Callbacks of several replicas that share a Redis: each event is posted once and in order, by the replica that owns
the session, and by the next one if it does not come to that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from manager_agent.outbound import deliveries, shared_callbacks, shared_deliveries
from manager_agent.outbound.deliveries import DeliveryState
from manager_agent.outbound.delivery_queues import QUEUE_MAX
from manager_agent.records.records import Kind
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from tests.callback_receiver import CallbackReceiver
from tests.redis_server import RedisServer
from tests.unit import sessions as given
from tests.unit.outbound.callback_replicas import CallbackReplica, CallbackReplicas
from tests.unit.sessions import START
from tests.unit.waits import let_others_run, until
from tests.waiting import eventually

pytestmark = pytest.mark.unit

READY: list[Event] = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START)]
ACTIVE = given.seen("alice", "PA_2", START)
CLOSED = ev.SessionClosed(START)
ALL = ["session_ready", "session_active", "session_ended"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_callbacks, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(shared_callbacks, "ORPHANED_AFTER", 0.2)
    monkeypatch.setattr(deliveries, "PAUSE", 0.02)


@pytest.fixture
async def replicas(redis_server: RedisServer) -> AsyncIterator[CallbackReplicas]:
    async with CallbackReplicas(redis_server) as started:
        yield started


def joined(nth: int) -> Event:
    return given.seen("alice", f"PA_alice_{nth}", START, joined_ms=1_000 * nth)


def left(nth: int) -> Event:
    return given.left("alice", f"PA_alice_{nth}", START)


class Gate:
    """A receiver's answer that comes when the test says."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.opened = status, asyncio.Event()

    async def __call__(self, _: dict[str, Any]) -> int:
        await self.opened.wait()
        return self.status


async def all_told(receiver: CallbackReceiver, *replicas: CallbackReplica) -> list[str]:
    """The events that were posted, one for each try, once none is pending anywhere."""
    for replica in replicas:
        await replica.all_finished()
    await let_others_run()
    return receiver.events


# --- who delivers -----------------------------------------------------------------------------------


async def test_each_event_is_posted_once_whoever_caused_it(replicas: CallbackReplicas) -> None:
    a, b, c = await replicas.start("a", "b", "c")
    async with CallbackReceiver() as receiver:
        await a.open(receiver.url, *READY)
        await b.update(ACTIVE)
        await c.update(CLOSED)
        assert await all_told(receiver, a, b, c) == ALL
        assert [dict(replica.callbacks.finished) for replica in (a, b, c)] == [{"delivered": 3}, {}, {}]
        assert a.log() == b.log() == c.log()
        assert [delivery.id for delivery in a.log()] == [told["id"] for told in receiver.told]
        assert a.outcomes() == [(event, "delivered") for event in ALL]


async def test_many_sessions_of_all_replicas_are_told_in_order(replicas: CallbackReplicas) -> None:
    started = await replicas.start("a", "b", "c")
    async with CallbackReceiver() as receiver:

        async def live(number: int) -> None:
            session_id = f"ses_{number}"
            await started[number % 3].open(receiver.url, *READY, session_id=session_id)
            for step, event in enumerate((joined(1), left(1), joined(2), CLOSED)):
                await started[(number + step) % 3].update(event, session_id=session_id)

        await asyncio.gather(*map(live, range(24)))
        await all_told(receiver, *started)
        for number in range(24):
            told = [one for one in receiver.told if one["session"]["session_id"] == f"ses_{number}"]
            expected = ["session_ready", "session_active", "session_ready", "session_active", "session_ended"]
            assert [one["event"] for one in told] == expected
            assert len({one["id"] for one in told}) == 5
        assert [replica.delivered for replica in started] == [40, 40, 40]
        assert [replica.callbacks.pending for replica in started] == [0, 0, 0]


async def test_an_event_is_recorded_in_the_same_step_as_its_state(replicas: CallbackReplicas) -> None:
    """The replica that made the change is killed before it does anything else."""
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver(answer=Gate()) as hanging:
        await a.open(hanging.url, *READY)
        await replicas.kill(a, leader="b")
    await b.caught_up()
    (kept,) = b.deliveries.pending("ses_1")
    assert (kept.delivery.event, json.loads(kept.body)["id"]) == ("session_ready", kept.delivery.id)


async def test_the_log_tells_of_tries_everywhere(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver(500, 503) as receiver:
        await a.open(receiver.url, *READY)
        await until(lambda: [one.tries for one in b.log()], lambda tries: tries and tries[0] >= 1)
        await all_told(receiver, a, b)
        assert a.log() == b.log()
        assert [(one.tries, one.last_status, one.url) for one in b.log()] == [(3, 200, receiver.url)]
        c = await replicas.start_one("c")
        assert c.log() == a.log()


# --- another owner ----------------------------------------------------------------------------------


async def test_the_next_owner_of_a_dead_replicas_session_goes_on(replicas: CallbackReplicas) -> None:
    """In order, with the same ids and bodies. The try under way is repeated."""
    a, b, c = await replicas.start("a", "b", "c")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, ACTIVE)
        await receiver.tries(1)
        await replicas.kill(a, leader="b")
        gate.opened.set()
        await c.take()
        await b.update(CLOSED)
        assert await all_told(receiver, b, c) == ["session_ready", *ALL]
        assert receiver.posts[0][0] == receiver.posts[1][0]
        assert (b.callbacks.finished, c.delivered) == ({}, 3)


async def test_a_session_that_is_handed_over_has_no_event_twice(replicas: CallbackReplicas) -> None:
    """The new owner waits for the outcome of the try that is under way."""
    a, b = await replicas.start("a", "b")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, ACTIVE)
        await receiver.tries(1)
        await a.take(owner="b")
        await b.caught_up()
        await b.update(CLOSED)
        await let_others_run()
        assert receiver.events == ["session_ready"]
        gate.opened.set()
        assert await all_told(receiver, a, b) == ALL
        assert (a.delivered, b.delivered) == (1, 2)


async def test_a_replica_goes_on_until_it_reads_that_its_session_was_taken(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, ACTIVE)
        await receiver.tries(1)
        await a.caught_up()  # it knows both events
        async with a.behind():
            await b.take()
            gate.opened.set()
            gate.opened = asyncio.Event()
            await receiver.tries(2)
            await a.committed()
            await b.caught_up()
            await let_others_run()
            assert receiver.events == ["session_ready", "session_active"]
        await a.caught_up()
        gate.opened.set()
        await b.update(CLOSED)
        assert await all_told(receiver, a, b) == ALL
        assert (a.delivered, b.delivered) == (2, 1)


async def test_a_session_that_is_handed_over_between_two_tries_goes_on_at_once(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver(500) as receiver:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deliveries, "PAUSE", 30.0)
            await a.open(receiver.url, *READY)
            await until(lambda: [one.next_try_at for one in a.log()], any)
        await b.take()
        assert await all_told(receiver, a, b) == ["session_ready"] * 2
        assert (dict(a.callbacks.finished), dict(b.callbacks.finished)) == ({}, {"delivered": 1})


async def test_a_session_is_handed_to_and_fro_while_it_changes(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver() as receiver:
        await a.open(receiver.url, *READY)
        for nth, owner in enumerate((b, a, b, a)):
            await owner.update(joined(nth))
            await owner.take()
            await owner.update(left(nth))
        await a.update(CLOSED)
        events = await all_told(receiver, a, b)
        assert events == ["session_ready", *["session_active", "session_ready"] * 4, "session_ended"]


async def test_a_frozen_replica_posts_nothing_that_another_one_has_posted(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver(500) as receiver:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(deliveries, "PAUSE", 0.3)
            await a.open(receiver.url, *READY)
            await until(lambda: [one.next_try_at for one in a.log()], any)
        replicas.leases.lapse("a", leader="b")
        await b.take()
        assert await all_told(receiver, b) == ["session_ready"] * 2
        replicas.leases.dead = frozenset()
        assert await all_told(receiver, a, b) == ["session_ready"] * 2


# --- removed sessions -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["a", "b"])
async def test_the_last_owner_delivers_what_a_removed_session_left(replicas: CallbackReplicas, by: str) -> None:
    started = dict(zip("ab", await replicas.start("a", "b"), strict=True))
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await started["a"].open(receiver.url, *READY, ACTIVE, CLOSED)
        await receiver.tries(1)
        await started[by].caught_up()
        await started[by].store.remove("ses_1")
        gate.opened.set()
        assert await all_told(receiver, *started.values()) == ALL
        assert started["a"].delivered == 3


async def test_the_leader_delivers_what_a_dead_replica_left_of_a_removed_session(replicas: CallbackReplicas) -> None:
    a, b, c = await replicas.start("a", "b", "c")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, CLOSED)
        await receiver.tries(1)
        await a.store.remove("ses_1")
        await c.caught_up()
        await replicas.kill(a, leader="c")
        gate.opened.set()
        assert await all_told(receiver, b, c) == ["session_ready", "session_ready", "session_ended"]
        assert (b.callbacks.finished, c.delivered) == ({}, 2)


async def test_the_leader_delivers_what_all_replicas_left(replicas: CallbackReplicas) -> None:
    """The session is gone, and nothing says which replica was to deliver its events."""
    a = await replicas.start_one("a")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY)
        await receiver.tries(1)
        await replicas.kill(a, leader="b")
        await replicas.server.command("DEL", a.parts.connection.keys.session("ses_1"))
        await replicas.server.command("ZREM", a.parts.connection.keys.sessions, "ses_1")
        gate.opened.set()
        b, c = await replicas.start("b", "c")
        assert await all_told(receiver, b, c) == ["session_ready"] * 2
        assert (b.delivered, c.callbacks.finished) == (1, {})


# --- 410, bounds ------------------------------------------------------------------------------------


async def test_a_receiver_that_wants_no_more_gets_no_more_from_any_replica(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver(410) as receiver:
        await a.open(receiver.url, *READY)
        await all_told(receiver, a, b)
        await until(lambda: b.deliveries.is_unwanted("ses_1"))
        await b.update(ACTIVE)
        await b.take()
        await b.update(CLOSED)
        c = await replicas.start_one("c")
        assert await all_told(receiver, a, b, c) == ["session_ready"]
        assert c.outcomes() == [("session_ready", "given_up")]
        await c.store.remove("ses_1")
        assert await kept(a) == [c.log()[0].id]


async def test_what_waits_behind_an_unwanted_event_is_given_up(replicas: CallbackReplicas) -> None:
    a, b = await replicas.start("a", "b")
    gate = Gate(410)
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, ACTIVE)
        await receiver.tries(1)
        await b.update(CLOSED)
        gate.opened.set()
        assert await all_told(receiver, a, b) == ["session_ready"]
        assert b.outcomes() == [(event, "given_up") for event in ALL]


async def test_events_of_a_session_that_wait_are_bounded(replicas: CallbackReplicas) -> None:
    """The oldest that is not under way is given up."""
    a, b = await replicas.start("a", "b")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY)
        for nth in range(QUEUE_MAX // 2 + 2):
            await b.update(joined(nth), left(nth))
        await a.caught_up()
        assert a.callbacks.pending == QUEUE_MAX
        gate.opened.set()
        await all_told(receiver, a, b)
        assert (a.delivered, a.callbacks.finished[DeliveryState.GIVEN_UP]) == (QUEUE_MAX, 5)
        assert [(one.state, one.last_error) for one in b.log()[1:6]] == [
            ("given_up", "too many later ones were waiting")
        ] * 5


async def test_bytes_that_wait_are_bounded(replicas: CallbackReplicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manager_agent.outbound.delivery_queues.OWNER_BYTES_MAX", 150)
    a, b = await replicas.start("a", "b")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY, ACTIVE)
        await b.open(receiver.url, *READY, session_id="ses_2", owner="desk")
        await b.caught_up()
        gate.opened.set()
        await all_told(receiver, a, b)
        given_up = [(one.session_id, one.last_error) for one in b.log() if one.state == "given_up"]
        assert given_up == [("ses_1", "too much is waiting to be delivered")]


async def test_finished_events_are_kept_as_the_log_has_them(
    replicas: CallbackReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "KEPT", 3)
    a, b = await replicas.start("a", "b")
    async with CallbackReceiver() as receiver:
        await a.open(receiver.url, *READY)
        for nth in range(3):
            await b.update(joined(nth), left(nth))
        await all_told(receiver, a, b)
        await a.committed()
        assert len(receiver.events) == 7
        assert await kept(b) == [one.id for one in b.log()] == [one.id for one in a.log()]
        assert len(b.log()) == 3


# --- Redis ------------------------------------------------------------------------------------------


async def test_events_are_told_once_although_redis_was_away(own_redis_server: RedisServer) -> None:
    """The try that is under way meanwhile is not repeated."""
    async with CallbackReplicas(own_redis_server) as replicas:
        a, b = await replicas.start("a", "b")
        gate = Gate()
        async with CallbackReceiver(answer=gate) as receiver:
            await a.open(receiver.url, *READY, ACTIVE)
            await receiver.tries(1)
            await a.caught_up()  # with the second event, which is tried without Redis
            own_redis_server.freeze()
            gate.opened.set()
            await receiver.tries(2)
            own_redis_server.thaw()
            await b.update(CLOSED)
            assert await all_told(receiver, a, b) == ALL
            assert a.log() == b.log()


async def test_events_are_told_once_although_redis_lost_everything(own_redis_server: RedisServer) -> None:
    async with CallbackReplicas(own_redis_server) as replicas:
        a, b = await replicas.start("a", "b")
        gate = Gate()
        async with CallbackReceiver(answer=gate) as receiver:
            await a.open(receiver.url, *READY)
            await receiver.tries(1)
            await a.update(ACTIVE)
            own_redis_server.restart()
            await until(lambda: a.parts.connection.is_away, lambda away: not away)
            await b.caught_up()
            await until(lambda: b.deliveries.count("ses_1"), lambda count: count == 2)
            gate.opened.set()
            await b.update(CLOSED)
            assert await all_told(receiver, a, b) == ALL
            c = await replicas.start_one("c")
            assert c.log() == a.log() == b.log()


async def test_an_event_that_redis_lost_before_anyone_knew_of_it_is_told(own_redis_server: RedisServer) -> None:
    """It was acknowledged, and the session goes on."""
    async with CallbackReplicas(own_redis_server) as replicas:
        a, b = await replicas.start("a", "b")
        async with CallbackReceiver() as receiver:
            await a.open(receiver.url, *READY)
            await all_told(receiver, a, b)
            with pytest.MonkeyPatch.context() as patch:
                for replica in (a, b):
                    patch.setitem(replica.changelog._appliers, "record", [])
                await a.update(ACTIVE)
                await a.caught_up()
                await b.caught_up()
                own_redis_server.restart()
            await until(lambda: a.parts.connection.is_away, lambda away: not away)
            await receiver.tries(2)
            assert await all_told(receiver, a, b) == ["session_ready", "session_active"]


async def test_events_are_put_back_with_their_session(own_redis_server: RedisServer) -> None:
    """The replica does not learn that Redis has lost its last write until it writes to the session again."""
    async with CallbackReplicas(own_redis_server) as replicas:
        a, b = await replicas.start("a", "b")
        async with CallbackReceiver() as receiver:
            await a.open(receiver.url, *READY)
            await all_told(receiver, a, b)
            await a.committed()
            await a.caught_up()
            earlier = await own_redis_server.saved()
            async with a.behind(), b.behind():
                await a.store.update("ses_1", ACTIVE)
                await own_redis_server.go_back_to(earlier)
            await a.caught_up()
            assert a.deliveries.sessions == []
            await a.update(CLOSED)
            assert await all_told(receiver, a, b) == ALL


async def test_an_event_is_pending_nowhere_although_redis_lost_its_end(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica has not read that it was delivered, and the one that knows has nothing to put back."""
    monkeypatch.setattr(deliveries, "KEPT", 1)
    monkeypatch.setattr(shared_deliveries, "DELIVERERS_FIRST", 0.1)
    async with CallbackReplicas(own_redis_server) as replicas:
        a, b = await replicas.start("a", "b")
        gate = Gate()
        async with CallbackReceiver(answer=gate) as receiver:
            await a.open(receiver.url, *READY)
            await until(lambda: b.deliveries.count("ses_1"))
            async with b.behind():
                gate.opened.set()
                await a.update(ACTIVE)
                await until(lambda: a.delivered, lambda count: count == 2)
                await a.committed()
                own_redis_server.restart()
            await b.all_finished()
            assert await all_told(receiver, a, b) == ["session_ready", "session_active"]
            await until_kept(b, [a.log()[0].id])


async def test_an_event_that_is_recorded_after_its_end_is_over_everywhere(replicas: CallbackReplicas) -> None:
    """The replica that recorded it did not know that it was delivered."""
    a, b = await replicas.start("a", "b")
    gate = Gate()
    async with CallbackReceiver(answer=gate) as receiver:
        await a.open(receiver.url, *READY)
        await until(lambda: b.deliveries.count("ses_1"))
        async with b.behind():
            gate.opened.set()
            await until(lambda: a.delivered)
            await a.committed()
            b.deliveries.record(b.deliveries.pending("ses_1")[0].delivery)
            await b.committed()
            c = await replicas.start_one("c")
        assert await all_told(receiver, a, b, c) == ["session_ready"]
        assert c.outcomes() == [("session_ready", "delivered")]


async def until_kept(replica: CallbackReplica, keys: list[str]) -> None:
    """Return once these are the keys of the records."""
    await eventually(f"only {keys} are kept", lambda: kept(replica), lambda found: found == keys)


async def kept(replica: CallbackReplica) -> list[str]:
    """The keys of the records."""
    return [record.key for record in await replica.parts.records.read(Kind.DELIVERY)]
