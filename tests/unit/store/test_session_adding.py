"""Sessions that several replicas add to those that they share: room names, limits, restored sessions."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.store.counters import CounterLimit, of_service
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.store import Full, RoomNameTaken
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplicas, a_session, all_caught_up, counter

pytestmark = pytest.mark.unit


async def test_a_room_name_is_given_once(replicas: StoreReplicas) -> None:
    """Whichever replicas are asked for it at once."""
    started = await replicas.start(3)
    sessions = [replace(a_session(number), room_name="demo") for number in range(9)]
    outcomes = await asyncio.gather(
        *(started[n % 3].store.add(session) for n, session in enumerate(sessions)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(outcome is None or isinstance(outcome, RoomNameTaken) for outcome in outcomes)
    await all_caught_up(*started)
    assert all(replica.store.in_room("demo") == started[0].store.in_room("demo") for replica in started)


async def test_a_name_is_reused_through_another_replica(replicas: StoreReplicas) -> None:
    """By its owner once the room is deleted."""
    here, there = await replicas.start(2)
    await here.store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
        await here.store.update("s1", event)
    await there.store.add(replace(given.a_session(), session_id="s2"))
    await all_caught_up(here, there)
    assert here.store.in_room("demo") == there.store.get("s2")
    await here.store.remove("s1")
    with pytest.raises(RoomNameTaken):
        await here.store.add(replace(given.a_session(), session_id="s3"))


async def test_the_name_of_a_forgotten_room_is_taken_for_replicas_that_start_later(replicas: StoreReplicas) -> None:
    first = await replicas.start_one(ended=EndedSessions(per_caller=0))
    await first.store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
        await first.store.update("s1", event)
    assert await first.sessions() == []
    later = await replicas.start_one()
    with pytest.raises(RoomNameTaken) as caught:
        await later.store.add(replace(given.a_session(), session_id="s2"))
    assert 1 < caught.value.retry_after <= 30


async def test_a_limit_holds_for_all_replicas_together(replicas: StoreReplicas) -> None:
    """40 of 100 requests that come to three replicas at once are served."""
    started = await replicas.start(3, limit_of={of_service("asr"): CounterLimit(40)}.get)
    sessions = [a_session(number, service="asr") for number in range(100)]
    outcomes = await asyncio.gather(
        *(started[n % 3].add(session) for n, session in enumerate(sessions)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 60
    assert all(isinstance(refusal, Full) and refusal.counter == of_service("asr") for refusal in refused)
    assert await counter(started[0], of_service("asr")) == 40
    (ended,) = [
        one for one in await started[1].sessions() if one.session_id == next(started[1].store.list()).session_id
    ]
    await started[1].store.update(ended.session_id, ev.SessionClosed(START))
    await started[2].store.add(a_session(100, service="asr"))
    with pytest.raises(Full):
        await started[0].store.add(a_session(101, service="asr"))
    assert started[0].store.counts.in_use("asr") == 40


async def test_a_session_is_restored_once(replicas: StoreReplicas) -> None:
    """Whatever is known of its room name. What is stored already stays as it is."""
    here, there = await replicas.start(2)
    await here.store.restore(given.a_session(), recorded_revision=3)
    await there.store.restore(replace(given.a_session(), webhooks_arrive=True))
    assert [replica.store.get("s1").webhooks_arrive for replica in (here, there)] == [False, False]
    assert (here.told[0].is_restored, here.told[0].is_remote, here.told[0].recorded_revision) == (True, False, 3)
    assert (there.told[0].is_restored, there.told[0].is_remote) == (True, True)
    assert there.store.ownership("s1").owner == here.replica_id
