"""Recovery reads every room that it can, and completes although others can't be read."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from livekit.protocol.models import Room as RoomInfo

from manager_agent.clock import SteadyClock
from manager_agent.control.manager_turns import MANAGER_TIMEOUT, MANAGERS_AT_ONCE
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.recovery import (
    READ_AGAIN_MAX,
    READS_BELIEVED,
    RETRY_PAUSE,
    ROUNDS_MAX,
    Recovery,
    Restorable,
)
from manager_agent.frozen import replace
from manager_agent.livekit.calls import LiveKitUnavailable, RoomMissing
from manager_agent.livekit.join_tokens import JoinTokens
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.livekit.server_api import Listing, Rooms
from manager_agent.livekit.tokens import Tokens
from manager_agent.messages import RoomStatus
from manager_agent.records.memory import MemoryRecords
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.plan import DOUBT_PAUSES, ListRoom, plan
from manager_agent.session.resumption import resumed
from manager_agent.session.session import Session
from manager_agent.session.specification import Specification
from manager_agent.store.memory import MemoryStore
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Change
from tests.always_acting import always_acting
from tests.unit import sessions as given
from tests.unit.virtual_time import in_virtual_time, let_pass, now

pytestmark = pytest.mark.unit


def a_room(session: Session, sid: str = "RM_1") -> ListedRoom:
    status = RoomStatus.of(session, "d")
    return ListedRoom(session.room_name, sid, session.session_id, is_ours=True, status=status, created_at=given.START)


class RecordedRooms:
    """Rooms with these dispatches. `faults` are raised instead, by the room's name, one at each question."""

    def __init__(
        self, *rooms: ListedRoom, texts: tuple[str, ...] | dict[str, str], faults: dict[str, list[Exception]]
    ) -> None:
        """`texts`: the specifications in each room, or the one of each by the room's name."""
        self.rooms, self.texts, self.faults = list(rooms), texts, faults
        self.asked: list[str] = []
        self.lists, self.reads = asyncio.Event(), asyncio.Event()
        """LiveKit answers once they are set."""
        self.lists.set()
        self.reads.set()
        clock = SteadyClock()
        self.clock_origin, self.livekit_clock = clock.origin, LiveKitClock(clock)
        self.names = RoomNames(MemoryRecords(now), now)
        self.tokens = JoinTokens(Tokens("key", "secret", livekit_clock=now), self.names)

    async def list_rooms(self) -> list[ListedRoom]:
        await self.lists.wait()
        if self.faults.get("", []):
            raise self.faults[""].pop(0)
        return self.rooms

    async def recorded_dispatches(self, room_name: str) -> RecordedDispatches:
        self.asked.append(room_name)
        await self.reads.wait()
        if self.faults.get(room_name, []):
            raise self.faults[room_name].pop(0)
        texts = self.texts if isinstance(self.texts, tuple) else (self.texts[room_name],)
        return RecordedDispatches(texts, manager_attempts=1, invite_ids=frozenset())

    async def list_participants(self, _: str) -> Listing:
        return Listing((), ())


class RestoringOrchestrator:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def resume(self, session: Session, recorded: Session) -> None:
        await self._store.restore(session, recorded.state_revision)


SESSION = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(given.ASR))
TEXT = Specification.of(SESSION).text()


def recovery_of(livekit: RecordedRooms, store: MemoryStore, *records: Restorable) -> Recovery:
    recovery = Recovery(
        records=MemoryRecords(now),
        store=store,
        rooms=cast(Rooms, livekit),
        orchestrator=cast(Orchestrator, RestoringOrchestrator(store)),
        identities=Identities("secret"),
        acting=always_acting(),
        clock=now,
    )
    recovery.restore_first(*records)
    return recovery


async def recovered(
    *rooms: ListedRoom, texts: tuple[str, ...] = (TEXT,), store: MemoryStore | None = None, **faults: list[Exception]
) -> Recovery:
    """The recovery, once it is complete."""
    faults_of = {name.strip("_"): raised for name, raised in faults.items()}
    recovery = recovery_of(RecordedRooms(*rooms, texts=texts, faults=faults_of), store or MemoryStore(now))
    await recovery.start()
    while not recovery.is_complete:
        await asyncio.sleep(0.1)
    await recovery.aclose()
    return recovery


@in_virtual_time
async def test_recovery_asks_again_for_what_livekit_did_not_answer() -> None:
    down: list[Exception] = [LiveKitUnavailable("down"), LiveKitUnavailable("down")]
    recovery = await recovered(a_room(SESSION), _=list(down), demo=list(down))
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_recovery_is_complete_although_one_room_never_answers() -> None:
    dead = [LiveKitUnavailable("its node is gone") for _ in range(ROUNDS_MAX)]
    recovery = await recovered(a_room(SESSION), demo=list(dead))
    assert not recovery.is_known(a_room(SESSION))
    assert recovery.unreadable == []
    assert recovery.may_find_session("s1")
    await recovery.recover(a_room(SESSION))
    assert recovery.is_known(a_room(SESSION))
    assert not recovery.may_find_session("s1")


@in_virtual_time
async def test_the_session_of_a_room_that_is_gone_is_looked_for_as_long_as_livekit_lists_the_room() -> None:
    gone: list[Exception] = [RoomMissing("demo") for _ in range(ROUNDS_MAX)]
    recovery = await recovered(a_room(SESSION), demo=gone)
    assert not recovery.is_known(a_room(SESSION))
    recovery.listed([a_room(SESSION)])
    assert recovery.may_find_session("s1")
    recovery.listed([])
    assert not recovery.may_find_session("s1")


@in_virtual_time
async def test_only_sessions_of_listed_rooms_may_be_found_and_any_before_the_rooms_are_listed() -> None:
    livekit, store = RecordedRooms(a_room(SESSION), texts=(TEXT,), faults={}), MemoryStore(now)
    livekit.lists.clear()
    livekit.reads.clear()
    recovery = recovery_of(livekit, store)
    await recovery.start()
    await let_pass(1)
    assert recovery.may_find_session("another")
    livekit.lists.set()
    await let_pass(1)
    assert (recovery.may_find_session("another"), recovery.may_find_session("s1")) == (False, True)
    assert recovery.may_find(lambda room: room.name == "demo")
    assert not recovery.is_complete
    livekit.reads.set()
    await let_pass(1)
    assert (recovery.is_complete, recovery.may_find_session("s1")) == (True, False)
    await recovery.aclose()


@in_virtual_time
async def test_a_room_that_is_read_twice_at_the_same_time_is_recovered_once() -> None:
    livekit, store = RecordedRooms(a_room(SESSION), texts=(TEXT,), faults={}), MemoryStore(now)
    livekit.reads.clear()
    recovery = recovery_of(livekit, store)
    await recovery.start()
    both = asyncio.gather(recovery.recover(a_room(SESSION)), recovery.recover(a_room(SESSION)))
    await let_pass(1)
    await recovery.recover(a_room(SESSION))
    livekit.reads.set()
    await both
    await let_pass(1)
    assert livekit.asked == ["demo"]
    assert recovery.is_known(a_room(SESSION))
    await recovery.aclose()


@in_virtual_time
async def test_no_room_is_recovered_before_the_records_were_read() -> None:
    """They may say that its session is over. The reconciler may ask for it before."""

    class SlowRecords:
        async def restore(self) -> None:
            await asyncio.sleep(60)
            await store.restore(ended)

    ended = given.after(SESSION, ev.SessionClosed(now()))
    livekit, store = RecordedRooms(a_room(SESSION), texts=(TEXT,), faults={}), MemoryStore(now)
    recovery = recovery_of(livekit, store, SlowRecords())
    await recovery.start()
    await let_pass(1)
    await recovery.recover(a_room(SESSION))
    assert list(store.list()) == []
    await let_pass(120)
    assert list(store.list()) == [ended]
    await recovery.aclose()


@in_virtual_time
async def test_rooms_in_which_services_are_awaited_get_their_managers_first() -> None:
    ready = given.after(replace(given.a_session(), session_id="s2", room_name="plain"), *given.created())
    texts, store = (TEXT,), MemoryStore(now)
    livekit = RecordedRooms(a_room(ready, "RM_2"), a_room(SESSION), texts=texts, faults={})
    recovery = recovery_of(livekit, store)
    await recovery.start()
    await let_pass(1)
    assert livekit.asked == ["demo", "plain"]
    await recovery.aclose()


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ((), "there is none"),
        (("1.x.y",), "checksum"),
        (("9.x.y", TEXT), "version 9"),
        ((Specification.of(given.after(given.a_session(), *given.created())).text().replace("1.", "1.0"),), "checksum"),
    ],
)
@in_virtual_time
async def test_a_room_whose_record_is_damaged_or_newer_is_left_alone(texts: tuple[str, ...], why: str) -> None:
    recovery = await recovered(a_room(SESSION), texts=texts)
    (room,) = recovery.unreadable
    assert (room.name, room.sid) == ("demo", "RM_1")
    assert why in room.why
    assert recovery.is_unreadable(a_room(SESSION))


@in_virtual_time
async def test_the_name_of_a_recovered_room_is_reserved_for_tokens_given_out_earlier() -> None:
    livekit = RecordedRooms(a_room(SESSION), texts=(TEXT,), faults={})
    recovery = recovery_of(livekit, MemoryStore(now))
    await recovery.start()
    await let_pass(1)
    assert livekit.names.reserved_for("demo", "rival") > 0
    await recovery.aclose()


@in_virtual_time
async def test_the_session_of_a_room_whose_dispatches_are_listed_late_is_recovered() -> None:
    livekit, store = RecordedRooms(a_room(SESSION), texts=(), faults={}), MemoryStore(now)
    recovery = recovery_of(livekit, store)
    await recovery.start()
    await let_pass(0.1)
    assert (recovery.unreadable, recovery.may_find_session("s1")) == ([], True)
    livekit.texts = (TEXT,)
    await let_pass(RETRY_PAUSE)
    assert (recovery.is_known(a_room(SESSION)), recovery.is_complete) == (True, True)
    await recovery.aclose()


@in_virtual_time
async def test_the_record_counts_for_callbacks_if_it_is_older_than_the_state_that_is_continued() -> None:
    """Killed between the record of the next attempt and the status."""
    ready = given.after(SESSION, *given.accepted(given.ASR), given.seen("sm-asr-1", "PA_1", given.START))
    elsewhere = ev.Chosen("asr-2", "ASR", "http://b.example/")
    lost = given.left("sm-asr-1", "PA_1", given.START + 1)
    again = ev.InviteStarted(given.START + 2, given.ASR, 2, 1, "sm-asr-2", "inv_2", elsewhere)
    text = Specification.of(given.after(ready, lost, again)).text()
    store, restored = MemoryStore(now), list[Change]()
    store.listen(restored.append)
    await recovered(a_room(ready), texts=(text,), store=store)
    assert restored[0].recorded_revision == ready.state_revision
    assert restored[0].session.state is not ready.state
    assert restored[0].session.state_revision > ready.state_revision


def attempted_again() -> Session:
    """A session whose service was replaced after the specification above."""
    elsewhere = ev.Chosen("asr-2", "ASR", "http://b.example/")
    refused = ev.InviteRefused(given.START, given.ASR, 1, 1, ev.Refusal.DECLINED)
    return given.after(SESSION, refused, ev.InviteStarted(given.START, given.ASR, 2, 1, "sm-asr-2", "inv_2", elsewhere))


@in_virtual_time
async def test_progress_of_a_later_attempt_than_the_specification_has_is_not_resumed() -> None:
    (unreadable,) = (await recovered(a_room(attempted_again()))).unreadable
    assert "latest attempt" in unreadable.why


@in_virtual_time
async def test_a_session_that_is_over_is_recovered_without_its_latest_specification() -> None:
    store = MemoryStore(now)
    await recovered(a_room(given.after(attempted_again(), ev.SessionClosed(given.START + 1))), store=store)
    session = store.get("s1")
    assert (session.over, session.services[0].attempt, session.services[0].presence.sid) == (True, 1, None)


@in_virtual_time
async def test_an_unreadable_room_is_read_again_after_growing_pauses() -> None:
    livekit, store = RecordedRooms(a_room(SESSION), texts=(), faults={}), MemoryStore(now)
    recovery = recovery_of(livekit, store)
    await recovery.start()
    await let_pass(READS_BELIEVED * RETRY_PAUSE)
    assert recovery.is_unreadable(a_room(SESSION))
    read_at = list[float]()
    for _ in range(100):  # rounds of the reconciler
        before = len(livekit.asked)
        await let_pass(10.0)
        await recovery.recover(a_room(SESSION))
        if len(livekit.asked) > before:
            read_at.append(now())
    pauses = [later - earlier for earlier, later in pairwise(read_at)]
    assert len(pauses) >= 2
    assert pauses == sorted(set(pauses))
    livekit.texts = (TEXT,)
    await let_pass(READ_AGAIN_MAX)
    await recovery.recover(a_room(SESSION))
    assert (recovery.is_known(a_room(SESSION)), recovery.unreadable) == (True, [])
    await recovery.aclose()


@in_virtual_time
async def test_an_unreadable_room_is_forgotten_when_two_listings_in_a_row_lack_it() -> None:
    recovery, room = await recovered(a_room(SESSION), texts=()), a_room(SESSION)
    for listing, known in (([], 1), ([room], 1), ([], 1), ([], 0)):
        recovery.listed(listing)
        assert len(recovery.unreadable) == known


@in_virtual_time
async def test_a_room_that_cant_be_recovered_by_an_error_of_ours_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(session: Session, *about: Any, room_sid: str, **more: Any) -> Session:
        if room_sid == "RM_2":
            raise RuntimeError("as the test wants it")
        return resumed(session, *about, room_sid=room_sid, **more)

    monkeypatch.setattr("manager_agent.control.recorded_session.resumed", faulty)
    recovery = await recovered(a_room(SESSION, "RM_2"), a_room(SESSION))
    assert [room.sid for room in recovery.unreadable] == ["RM_2"]
    assert "as the test wants it" in recovery.unreadable[0].why
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_a_room_whose_status_is_of_another_version_is_left_alone() -> None:
    metadata = RoomStatus.of(SESSION, "d").model_dump_json().replace('"waiting"', '"a state of a later version"')
    room = ListedRoom.of(RoomInfo(name="demo", sid="RM_1", metadata=metadata), "d")
    assert room.is_ours
    (unreadable,) = (await recovered(room)).unreadable
    assert "this version" in unreadable.why


@in_virtual_time
async def test_a_damaged_specification_beside_one_that_can_be_read_does_not_count() -> None:
    recovery = await recovered(a_room(SESSION), texts=("1.damaged.text", TEXT))
    assert recovery.is_known(a_room(SESSION))


@in_virtual_time
async def test_a_participant_that_the_first_listing_lacks_is_looked_for_again_at_once() -> None:
    store = MemoryStore(now)
    joined = given.after(SESSION, *given.accepted(given.ASR), given.seen("sm-asr-1", "PA_1", given.START))
    await recovered(a_room(joined), store=store)
    session = store.get("s1")
    assert session.services[0].presence.here
    assert session.doubts == 1
    assert session.listed_at is not None
    assert ListRoom() in plan(session, session.listed_at + DOUBT_PAUSES[0]).actions


@in_virtual_time
async def test_a_room_without_missing_participants_is_not_listed_again_at_once() -> None:
    store = MemoryStore(now)
    ready = given.after(given.a_session(), *given.created(), ev.WebhookArrived(given.START))
    await recovered(a_room(ready), texts=(Specification.of(ready).text(),), store=store)
    assert ListRoom() not in plan(store.get("s1"), now()).actions


@in_virtual_time
async def test_revisions_that_were_shown_and_not_recorded_are_not_used_again() -> None:
    shown = given.after(SESSION, *given.accepted(given.ASR), given.seen("sm-asr-1", "PA_1", given.START))
    for _ in range(3):  # a process that is killed before it has recorded anything
        store = MemoryStore(now)
        await let_pass(0.5)
        await recovered(a_room(SESSION), store=store)
        assert store.get("s1").revision > shown.revision
        shown = given.after(store.get("s1"), *given.accepted(given.ASR), given.seen("sm-asr-1", "PA_1", now()))


@in_virtual_time
async def test_recovered_rooms_get_their_managers_a_few_at_a_time() -> None:
    """The next one has its turn when a manager has joined, and at last when its time is over."""
    count = MANAGERS_AT_ONCE + 2
    sessions = [replace(SESSION, session_id=f"s{number}", room_name=f"room-{number}") for number in range(count)]
    store, rooms = MemoryStore(now), [a_room(session, f"RM_{session.session_id}") for session in sessions]
    livekit = RecordedRooms(*rooms, texts={one.room_name: Specification.of(one).text() for one in sessions}, faults={})
    recovery = recovery_of(livekit, store)
    await recovery.start()
    await let_pass(1.0)

    def due() -> list[str]:
        return [one.session_id for one in store.list() if one.manager.next_dispatch_at <= now()]

    assert due() == [f"s{number}" for number in range(MANAGERS_AT_ONCE)]
    manager = store.get("s0").manager
    dispatched = ev.ManagerDispatched(now(), manager.attempt + 1, "sm-next")
    for event in (dispatched, ev.JobAccepted(now(), "sm-next"), given.seen("sm-next", "PA_next", now())):
        await store.update("s0", event)
    await let_pass(0.1)
    assert due()[-1] == f"s{count - 2}"
    await let_pass(MANAGER_TIMEOUT)
    assert due()[-1] == f"s{count - 1}"
    await recovery.aclose()
