"""Stores of several replicas that share their sessions through Redis."""

from __future__ import annotations

import asyncio
import random

import pytest

from manager_agent.session import events as ev
from manager_agent.session.session import SessionState
from manager_agent.store.counters import LIVE, of_service
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.store import RoomNameTaken, UnknownSession
from manager_agent.store.stored_session import Ownership
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.replicas import READY, StoreReplica, StoreReplicas, a_session, all_caught_up, counter
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

# --- what others write ------------------------------------------------------------------------------


async def test_every_replica_has_what_another_one_wrote(replicas: StoreReplicas) -> None:
    """And is told of each change once, in order; only where it was made with its event."""
    here, there = await replicas.start(2)
    session = given.a_session(given.JOINS)
    await here.store.add(session)
    for event in READY:
        await here.store.update("s1", event)
    await all_caught_up(here, there)
    assert there.store.get("s1") == here.store.get("s1") == given.after(session, *READY)
    expected = [given.after(session, *READY[:n]) for n in range(len(READY) + 1)]
    assert there.states_told("s1") == here.states_told("s1") == expected
    assert [change.event for change in here.told] == [None, *READY]
    assert not any(change.is_remote for change in here.told)
    assert all(change.is_remote and change.event is None for change in there.told)
    assert there.store.counts.by_state == here.store.counts.by_state


async def test_a_replica_that_starts_later_finds_all_sessions(replicas: StoreReplicas) -> None:
    first = await replicas.start_one()
    for number in range(120):
        await first.store.add(a_session(number))
    later = await replicas.start_one()
    assert list(later.store.list()) == list(first.store.list())
    assert all(change.is_restored and change.is_remote for change in later.told)
    assert later.store.owners() == {first.replica_id: 120}
    assert later.store.counts.live == 120


async def test_a_change_elsewhere_wakes_those_who_wait_here(replicas: StoreReplicas) -> None:
    here, there = await replicas.start(2)
    await here.store.add(given.a_session(given.JOINS))
    await there.changelog.caught_up()
    waiting = [
        asyncio.create_task(replica.store.wait_for("s1", lambda session: session.state is SessionState.READY))
        for replica in (here, there, there)
    ]
    for event in READY:
        await here.store.update("s1", event)
    assert all(session.state is SessionState.READY for session in await asyncio.gather(*waiting))


async def test_a_removal_elsewhere_ends_waiting_here(replicas: StoreReplicas) -> None:
    here, there = await replicas.start(2)
    await here.store.add(given.a_session())
    await there.changelog.caught_up()
    waiting = asyncio.create_task(there.store.wait_for("s1", lambda _: False))
    await here.store.remove("s1")
    with pytest.raises(UnknownSession):
        await waiting
    assert await there.sessions() == []
    assert there.told[-1].after is None
    assert there.told[-1].is_remote
    assert [change.after is None for change in here.told] == [False, True]


@pytest.mark.parametrize("seed", range(12))
async def test_random_histories_are_the_same_for_all(replicas: StoreReplicas, clock: VirtualClock, seed: int) -> None:
    """Of sessions that are added, changed, taken and removed everywhere at once."""
    chance = random.Random(seed)
    started = await replicas.start(3)

    async def live(replica: StoreReplica, dice: random.Random) -> None:
        for _ in range(25):
            number = dice.randrange(4)
            session_id = f"ses_{number}"
            try:
                match dice.randrange(8):
                    case 0:
                        await replica.store.add(a_session(number, service="asr"))
                    case 1:
                        await replica.store.remove(session_id)
                    case 2:
                        expected = replica.store.ownership(session_id)
                        await replica.store.take(session_id, expected=expected, owner=replica.replica_id)
                    case _:
                        event = dice.choice([*READY, ev.WebhookArrived(START), ev.SessionClosed(START + 5)])
                        await replica.store.update(session_id, event)
            except (RoomNameTaken, UnknownSession):
                pass

    await asyncio.gather(*(live(replica, random.Random(chance.random())) for replica in started))
    await all_caught_up(*started)
    first = started[0].store
    for replica in started:
        assert {one.session_id: one for one in replica.store.list()} == {one.session_id: one for one in first.list()}
        assert replica.store.owners() == first.owners()
        assert replica.store.counts.live == first.counts.live
        for number in range(4):
            replica.states_told(f"ses_{number}")
    live_sessions = sum(not session.over for session in first.list())
    assert await counter(started[0], LIVE) == await counter(started[0], of_service("asr")) == live_sessions


# --- owners -----------------------------------------------------------------------------------------


async def test_the_replica_that_adds_a_session_owns_it(replicas: StoreReplicas) -> None:
    here, there = await replicas.start(2)
    told: list[tuple[str, Ownership | None, Ownership | None]] = []
    there.store.listen_to_owners(lambda *change: told.append(change))
    await here.store.add(a_session())
    await there.changelog.caught_up()
    assert (here.store.owns("ses_1"), there.store.owns("ses_1")) == (True, False)
    ownership = there.store.ownership("ses_1")
    assert ownership == Ownership(here.replica_id, 1)
    assert await there.store.take("ses_1", expected=ownership, owner=there.replica_id)
    assert not await here.store.take("ses_1", expected=ownership, owner=here.replica_id)
    await here.changelog.caught_up()
    taken = there.store.ownership("ses_1")
    assert (taken.owner, taken.fence > ownership.fence) == (there.replica_id, True)
    for replica in (here, there):
        assert replica.store.ownership("ses_1") == taken
        assert list(replica.store.owned_by(there.replica_id)) == [replica.store.get("ses_1")]
        assert len(replica.told) == 1
    await here.store.remove("ses_1")
    await there.changelog.caught_up()
    assert told == [("ses_1", None, ownership), ("ses_1", ownership, taken), ("ses_1", taken, None)]
    assert here.store.owners() == {}


async def test_a_session_is_taken_by_one_replica(replicas: StoreReplicas) -> None:
    started = await replicas.start(3)
    await started[0].store.add(a_session())
    await all_caught_up(*started)
    expected = started[0].store.ownership("ses_1")
    taken = await asyncio.gather(
        *(replica.store.take("ses_1", expected=expected, owner=replica.replica_id) for replica in started)
    )
    assert sum(taken) == 1
    (ownership,) = {replica.store.ownership("ses_1") for replica in started}
    assert ownership.owner == started[taken.index(True)].replica_id
    assert ownership.fence > expected.fence


# --- ended sessions ---------------------------------------------------------------------------------


async def test_ended_sessions_are_bounded_for_all_replicas_together(replicas: StoreReplicas) -> None:
    started = [await replicas.start_one(ended=EndedSessions(per_caller=2)) for _ in range(2)]
    for number in range(8):
        store = started[number % 2].store
        await store.add(a_session(number))
        for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
            await started[(number + 1) % 2].changelog.caught_up()
            await started[(number + 1) % 2].store.update(f"ses_{number}", event)
    for replica in started:
        assert [session.session_id for session in await replica.sessions()] == ["ses_6", "ses_7"]
