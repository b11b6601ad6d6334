"""Callbacks of several replicas on one real Redis: the replica that acts for a session delivers its events, and the
next one goes on. The receivers answer as the test says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from manager_agent.outbound import shared_callbacks
from manager_agent.outbound.callbacks import CallbackMeans
from manager_agent.outbound.deliveries import DeliveryState
from manager_agent.outbound.shared_callbacks import SharedCallbacks
from manager_agent.records.records import Kind
from manager_agent.records.redis import RedisRecords
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.store.recording import Recording
from manager_agent.store.store import UnknownSession
from tests.redis_server import RedisServer
from tests.unit import sessions as given
from tests.unit.outbound.callback_harness import ACTIVE, CLOSED, READY, URL, Answer, FakeHttpClient, Sent, accepts
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplica
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import never, until

pytestmark = pytest.mark.unit


class CallbackReplica(StoreReplica):
    def __init__(self, server: RedisServer, clock: VirtualClock, answer: Answer) -> None:
        super().__init__(server, clock)
        self.http_client, self.is_leader = FakeHttpClient(answer), False
        self.dead: set[str] = set()
        """The replicas that act no more, as the test says."""
        self.records = RedisRecords(self.connection, self.changelog, time.time, self.replica_id)
        means = CallbackMeans(
            http_client=self.http_client,
            recording=Recording(self.store),
            records=self.records,
            clock=time.time,
            livekit_clock=time.time,
            view=lambda session: {"session_id": session.session_id},
            signing_keys=lambda owner: (owner, "f" * 64),
        )
        self.callbacks = SharedCallbacks(
            means,
            connection=self.connection,
            changelog=self.changelog,
            store=self.store,
            is_leader=lambda: self.is_leader,
            is_dead=lambda replica_id: replica_id in self.dead,
        )
        self.store.listen(self.callbacks.tell)

    async def __aenter__(self) -> CallbackReplica:
        await super().__aenter__()
        await self.records.start()
        await self.callbacks.start()
        return self

    async def __aexit__(self, *about: object) -> None:
        await self.callbacks.aclose()
        await self.records.aclose()
        await super().__aexit__(*about)

    async def open(self, session_id: str, *events: Event) -> None:
        session = given.a_session(given.JOINS)
        room = f"room-{session_id}"
        await self.store.add(replace(session, session_id=session_id, room_name=room, owner="shop", callback_url=URL))
        await self.update(session_id, *events)

    async def update(self, session_id: str, *events: Event) -> None:
        await self.changelog.caught_up()
        for event in events:
            await self.store.update(session_id, event)

    async def give(self, session_id: str, to: CallbackReplica) -> None:
        await self.changelog.caught_up()
        owned = self.store.ownership(session_id)
        assert await self.store.take(session_id, expected=owned, owner=to.replica_id)
        await to.changelog.caught_up()

    def sent(self) -> list[str]:
        return [sent.event for sent in self.http_client.sent]

    def outcomes(self) -> list[tuple[str, str]]:
        """Event and state of each delivery as this replica lists them, oldest first."""
        found = self.callbacks.delivery_log.latest(lambda _: True)
        return [(one.event, one.state) for one in sorted(found, key=lambda one: one.revision)]

    async def recorded(self) -> list[str]:
        """What is recorded of events, once everything is written."""
        await self.records.committed()
        return sorted(record.key for record in await self.records.read(Kind.DELIVERY))


Start = Callable[..., Awaitable[CallbackReplica]]


@pytest.fixture
async def start(redis_server: RedisServer) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        clock = VirtualClock()

        async def started(answer: Answer = accepts) -> CallbackReplica:
            return await stack.enter_async_context(CallbackReplica(redis_server, clock, answer))

        yield started


async def hangs(_: Sent) -> int:
    await never()
    return 200


ALL = ["session_ready", "session_active", "session_ended"]


async def test_the_owner_delivers_what_other_replicas_caused(start: Start) -> None:
    here, there = await start(), await start()
    await here.open("ses_1", *READY)
    await there.update("ses_1", ACTIVE)
    await there.update("ses_1", CLOSED)
    await until(lambda: here.sent(), lambda sent: sent == ALL)
    assert there.sent() == []
    delivered = [(event, DeliveryState.DELIVERED) for event in ALL]
    await until(here.outcomes, lambda found: found == delivered)
    await until(there.outcomes, lambda found: found == delivered)
    assert await here.recorded() == ["ses_1"]


async def test_an_event_is_recorded_in_the_same_step_as_its_change(start: Start) -> None:
    here = await start(hangs)
    await here.open("ses_1", *READY)
    records = await here.records.read(Kind.DELIVERY)
    assert [record.key for record in records] == [here.callbacks.delivery_log.latest(lambda _: True)[0].id]


async def test_the_next_owner_goes_on_with_the_same_events_in_order(start: Start) -> None:
    here, there = await start(hangs), await start()
    await here.open("ses_1", *READY, ACTIVE, CLOSED)
    await until(here.sent, lambda sent: sent == ["session_ready"])
    await here.give("ses_1", there)
    await until(there.sent, lambda sent: sent == ALL)
    assert there.http_client.sent[0].id == here.http_client.sent[0].id
    assert there.http_client.sent[0].body == here.http_client.sent[0].body
    assert await there.recorded() == ["ses_1"]
    await here.changelog.caught_up()
    assert (here.callbacks.pending, here.http_client.under_way, len(here.sent())) == (0, 0, 1)


async def test_a_replica_that_starts_later_knows_what_is_not_delivered(start: Start) -> None:
    here = await start(hangs)
    await here.open("ses_1", *READY, ACTIVE)
    there = await start()
    await until(there.outcomes, lambda found: len(found) == 2)
    await here.give("ses_1", there)
    await until(there.sent, lambda sent: sent == ALL[:2])


async def test_a_receiver_that_wants_no_events_gets_none_from_any_owner(start: Start) -> None:
    async def gone(_: Sent) -> int:
        return 410

    here, there = await start(gone), await start()
    await here.open("ses_1", *READY)
    await until(here.outcomes, lambda found: found == [("session_ready", DeliveryState.GIVEN_UP)])
    await here.records.committed()
    await there.update("ses_1", ACTIVE)
    await here.give("ses_1", there)
    await there.update("ses_1", CLOSED)
    assert await there.recorded() == ["ses_1"]
    assert (len(here.sent()), there.sent()) == (1, [])


async def removed_with_events(replica: CallbackReplica) -> None:
    await replica.open("ses_1", *READY, CLOSED, ev.CleanUpStarted(START), ev.CleanedUp(START))
    await replica.store.remove("ses_1")


async def test_events_of_a_removed_session_are_delivered_by_its_last_owner(start: Start) -> None:
    is_open = asyncio.Event()

    async def waits(_: Sent) -> int:
        await is_open.wait()
        return 200

    here, there = await start(waits), await start()
    there.is_leader = True
    await removed_with_events(here)
    await there.changelog.caught_up()
    with pytest.raises(UnknownSession):
        there.store.get("ses_1")
    is_open.set()
    await until(here.sent, lambda sent: sent == ["session_ready", "session_ended"])
    await until(lambda: here.callbacks.pending, lambda count: count == 0)
    assert (await here.recorded(), there.sent()) == ([], [])


async def test_the_leader_delivers_what_a_dead_replica_left_of_removed_sessions(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_callbacks, "ORPHANS_INTERVAL", 0.05)
    here, leader, other = await start(hangs), await start(), await start()
    leader.is_leader = True
    await removed_with_events(here)
    await leader.changelog.caught_up()
    leader.dead.add(here.replica_id)
    other.dead.add(here.replica_id)
    await until(leader.sent, lambda sent: sent == ["session_ready", "session_ended"])
    await until(lambda: leader.callbacks.pending, lambda count: count == 0)
    assert (await leader.recorded(), other.sent()) == ([], [])


async def test_a_leader_that_does_not_know_who_removed_a_session_waits_for_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_callbacks, "ORPHANS_INTERVAL", 0.05)
    here = await start(hangs)
    await removed_with_events(here)
    leader = await start()
    leader.is_leader = True
    await until(lambda: leader.callbacks._orphans_since)
    assert leader.sent() == []
    monkeypatch.setattr(shared_callbacks, "ORPHANED_AFTER", 0.0)
    await until(leader.sent, lambda sent: sent == ["session_ready", "session_ended"])


async def test_events_that_redis_has_lost_are_recorded_again(start: Start) -> None:
    here = await start(hangs)
    await here.open("ses_1", *READY)
    before = await here.recorded()
    await here.connection.call("FLUSHALL")
    await here.changelog.caught_up()
    assert before
    await until(lambda: here.callbacks._shared.session_ids)
    assert await here.recorded() == before
