"""Stores of several replicas that share their sessions through Redis."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record
from manager_agent.session import events as ev
from manager_agent.session.session import Session, SessionState, User
from manager_agent.session.transitions import apply
from manager_agent.store.counters import LIVE, CounterLimit, of_owner, of_service
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.store import Change, Full, RoomNameTaken, UnknownSession
from manager_agent.store.stored_session import Ownership
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplica, StoreReplicas
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit

READY: list[ev.Event] = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START + 1)]


def a_session(number: int = 1, *, owner: str = "shop", service: str = "") -> Session:
    services = (given.a_service(service, "ASR"),) if service else ()
    return Session(f"ses_{number}", f"room-{number}", User("alice"), START + number, services, owner=owner)


async def all_caught_up(*replicas: StoreReplica) -> None:
    for replica in replicas:
        await replica.changelog.caught_up()


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


async def test_an_event_that_changes_nothing_here_is_compared_with_what_is_stored(replicas: StoreReplicas) -> None:
    """The session may be in another state than this replica knows."""
    here, there = await replicas.start(2)
    await here.store.add(given.a_session())
    await there.changelog.caught_up()
    requested, created = given.created()[0], given.created()[-1]
    await here.store.update("s1", requested)
    assert (await there.store.update("s1", created)).room.sid == "RM_1"
    assert (await here.store.update("s1", created)) == (await there.sessions())[0]


# --- conflicts --------------------------------------------------------------------------------------


async def test_writes_of_many_at_once_are_all_kept(replicas: StoreReplicas) -> None:
    """None overwrites another: the last session is the one that all events lead to, in the order of the changes."""
    started = await replicas.start(3)
    session = given.a_session(given.JOINS)
    await started[0].store.add(session)
    await all_caught_up(*started)
    more: list[ev.Event] = [
        ev.InviteAccepted(START, 0, 1, 1),
        ev.WebhookArrived(START),
        given.shown("alice", "PA_u", START + 2),
    ]
    events: list[ev.Event] = [*READY, *more]
    for event in READY[:4]:
        await started[0].store.update("s1", event)
    await asyncio.gather(*(replica.store.update("s1", event) for event in events for replica in started))
    await all_caught_up(*started)
    told = [replica.states_told("s1") for replica in started]
    assert told[0] == told[1] == told[2]
    local = [change for replica in started for change in replica.told if not change.is_remote]
    assert len(local) == len(told[0])
    for change in local:
        if change.before is not None:
            assert change.event is not None
            assert apply(change.before, change.event) == change.after


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


async def counter(replica: StoreReplica, name: str) -> int:
    return int(await replica.connection.call("HGET", replica.connection.keys.counters, name) or 0)


# --- room names and limits --------------------------------------------------------------------------


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
    assert 20 < caught.value.retry_after <= 30


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
    assert started[0].store.in_use("asr") == 40


async def test_counters_are_given_back_when_sessions_end_or_are_removed(replicas: StoreReplicas) -> None:
    here, there = await replicas.start(2)
    for number in range(3):
        await here.store.add(a_session(number, service="asr"))
    assert await counter(here, of_owner("shop")) == 3
    await there.changelog.caught_up()
    await there.store.update("ses_0", ev.SessionClosed(START))
    await there.store.remove("ses_1")
    await here.store.remove("ses_0")
    assert await counter(here, of_owner("shop")) == await counter(here, LIVE) == 1
    await here.store.remove("ses_2")
    assert await here.connection.call("EXISTS", here.connection.keys.counters) == 0


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


async def test_what_a_former_owner_writes_is_refused(replicas: StoreReplicas) -> None:
    """Also if it does not know yet that it lost the session, and if it has got it back since."""
    here, there = await replicas.start(2)
    await here.store.add(a_session())
    await there.changelog.caught_up()
    acting = here.store.acting("ses_1")
    await acting.update("ses_1", ev.RoomRequested(START))
    with pytest.raises(NotActing):
        there.store.acting("ses_1")
    taking = there.store.take("ses_1", expected=here.store.ownership("ses_1"), owner=there.replica_id)
    waiting = asyncio.create_task(acting.wait_for("ses_1", lambda _: False))
    assert await taking
    with pytest.raises(NotActing):
        await acting.update("ses_1", ev.RoomCreated(START, "RM_1"))
    with pytest.raises(NotActing):
        await waiting
    assert (await there.sessions())[0].room.created_at is None
    await here.store.take("ses_1", expected=there.store.ownership("ses_1"), owner=here.replica_id)
    with pytest.raises(NotActing):
        await acting.update("ses_1", ev.RoomCreated(START, "RM_1"))
    await here.store.acting("ses_1").update("ses_1", ev.RoomCreated(START, "RM_1"))


async def test_observations_may_come_to_any_replica(replicas: StoreReplicas) -> None:
    """They are written whichever replica owns the session, also while that changes."""
    here, there = await replicas.start(2)
    await here.store.add(a_session())
    await there.changelog.caught_up()
    taking = there.store.take("ses_1", expected=there.store.ownership("ses_1"), owner=there.replica_id)
    await asyncio.gather(taking, here.store.update("ses_1", ev.WebhookArrived(START)))
    assert (await there.sessions())[0].webhooks_arrive


async def test_an_event_changes_nothing_where_another_replica_was_first(replicas: StoreReplicas) -> None:
    """The session differs from what was known before, but not because of this event."""
    here, there = await replicas.start(2)
    await here.store.add(a_session())
    await all_caught_up(here, there)
    known = here.store.get("ses_1")
    async with here.behind():
        await there.store.update("ses_1", ev.WebhookArrived(START))
        changing = asyncio.create_task(here.store.change("ses_1", ev.WebhookArrived(START)))
    change = await changing
    assert change.changes_nothing
    assert change.session != known
    assert not (await here.store.change("ses_1", ev.SessionClosed(START))).changes_nothing


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


# --- restoring, records, ended sessions -------------------------------------------------------------


async def test_a_session_is_restored_once(replicas: StoreReplicas) -> None:
    """Whatever is known of its room name. What is stored already stays as it is."""
    here, there = await replicas.start(2)
    await here.store.restore(given.a_session(), recorded_revision=3)
    await there.store.restore(replace(given.a_session(), webhooks_arrive=True))
    assert [replica.store.get("s1").webhooks_arrive for replica in (here, there)] == [False, False]
    assert (here.told[0].is_restored, here.told[0].is_remote, here.told[0].recorded_revision) == (True, False, 3)
    assert (there.told[0].is_restored, there.told[0].is_remote) == (True, True)
    assert there.store.ownership("s1").owner == here.replica_id


async def test_records_of_a_change_are_written_with_it(replicas: StoreReplicas) -> None:
    def recorded(change: Change) -> list[RecordChange]:
        if change.after is None:
            return [RecordChange(Kind.DELIVERY, "d1", None)]
        value = f"{change.session.revision}".encode()
        return [RecordChange(Kind.DELIVERY, "d1", Record(Kind.DELIVERY, "d1", value, START + 60))]

    here = await replicas.start_one()
    here.store.record_with(recorded)
    keys, call = here.connection.keys, here.connection.call
    await here.store.add(a_session())
    await here.store.update("ses_1", ev.SessionClosed(START))
    revision = here.store.get("ses_1").revision
    assert (await call("HGET", keys.records("delivery"), "d1")).endswith(b"%d" % revision)
    assert await call("ZSCORE", keys.record_expiries("delivery"), "d1") == b"1060"
    await here.store.remove("ses_1")
    assert await call("EXISTS", keys.records("delivery"), keys.record_expiries("delivery")) == 0
    entries = await call("XRANGE", keys.changes, "-", "+")
    kinds = [fields[1] for _, fields in entries if fields[1] != b"epoch"]
    assert kinds == [b"session", b"record", b"session", b"record", b"session_removed", b"record"]


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
