"""Sessions that several replicas change at once."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record
from manager_agent.session import events as ev
from manager_agent.session.transitions import apply
from manager_agent.store.counters import LIVE, of_owner
from manager_agent.store.store import Change
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.replicas import READY, StoreReplicas, a_session, all_caught_up, counter

pytestmark = pytest.mark.unit


async def test_an_event_that_changes_nothing_here_is_compared_with_what_is_stored(replicas: StoreReplicas) -> None:
    """The session may be in another state than this replica knows."""
    here, there = await replicas.start(2)
    await here.store.add(given.a_session())
    await there.changelog.caught_up()
    requested, created = given.created()[0], given.created()[-1]
    await here.store.update("s1", requested)
    assert (await there.store.update("s1", created)).room.sid == "RM_1"
    assert (await here.store.update("s1", created)) == (await there.sessions())[0]


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


async def test_observations_may_come_to_any_replica(replicas: StoreReplicas) -> None:
    """They are written whichever replica owns the session, also while that changes."""
    here, there = await replicas.start(2)
    await here.store.add(a_session())
    await there.changelog.caught_up()
    taking = there.store.take("ses_1", expected=there.store.ownership("ses_1"), owner=there.replica_id)
    await asyncio.gather(taking, here.store.update("ses_1", ev.WebhookArrived(START)))
    assert (await there.sessions())[0].webhooks_arrive


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
