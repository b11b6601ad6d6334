"""The session stores: every change goes through update(), and those who wait for a session are woken."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session, SessionState
from manager_agent.store.store import Change, RoomNameTaken, Store, UnknownSession
from tests.unit import sessions as given
from tests.unit.sessions import START
from tests.unit.store.conftest import MakeStore
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit


def another(session_id: str, room_name: str = "demo") -> Session:
    return replace(given.a_session(given.JOINS), session_id=session_id, room_name=room_name)


async def waiting(store: Store, wanted: Callable[[Session], bool], how_many: int = 1) -> list[asyncio.Task[Session]]:
    """Start so many waiters."""
    tasks = [asyncio.create_task(store.wait_for("s1", wanted)) for _ in range(how_many)]
    await let_others_run()
    return tasks


def is_ready(session: Session) -> bool:
    return session.state is SessionState.READY


TO_READY: list[Event] = [*given.managed(), *given.invited(0), given.seen("sm-asr-1", "PA_1", START + 1)]

# --- keeping ----------------------------------------------------------------------------------------


async def test_a_session_is_found_by_its_id_and_by_its_room(store: Store) -> None:
    """The same object, until something happens to it."""
    session = given.a_session(given.JOINS)
    await store.add(session)
    assert store.get("s1") is store.in_room("demo") is session
    assert store.in_room("another") is None


async def test_sessions_are_found_from_the_newest_id_on(store: Store) -> None:
    for n in (2, 0, 4, 1, 3):
        await store.add(another(f"s{n}", f"room-{n}"))
    await store.remove("s3")
    assert [session.session_id for session in store.newest()] == ["s4", "s2", "s1", "s0"]
    assert [session.session_id for session in store.newest(before="s2")] == ["s1", "s0"]
    assert [session.session_id for session in store.newest(before="s3")] == ["s2", "s1", "s0"]
    await store.update("s1", given.created()[0])
    assert next(store.newest(before="s2")) is store.get("s1")


async def test_sessions_are_listed_oldest_first(store: Store) -> None:
    """Sessions may change while the list is read."""
    for n in range(5):
        await store.add(another(f"s{n}", f"room-{n}"))
    seen_so_far = []
    for session in store.list():
        seen_so_far.append(session.session_id)
        if session.session_id != "s4":
            await store.remove(session.session_id)
    assert seen_so_far == ["s0", "s1", "s2", "s3", "s4"]
    assert [session.session_id for session in store.list()] == ["s4"]


async def test_every_store_method_raises_unknown_session_with_its_id(store: Store) -> None:
    """The error names it."""
    with pytest.raises(UnknownSession, match="'s1'"):
        store.get("s1")
    with pytest.raises(UnknownSession, match="'s1'"):
        await store.remove("s1")
    with pytest.raises(UnknownSession, match="'s1'"):
        await store.update("s1", ev.SessionClosed(START))
    with pytest.raises(UnknownSession, match="'s1'"):
        await store.wait_for("s1", is_ready)


async def test_a_removed_session_is_forgotten(store: Store) -> None:
    """By its id and by its room."""
    await store.add(given.a_session())
    await store.remove("s1")
    assert store.in_room("demo") is None
    assert list(store.list()) == []
    with pytest.raises(UnknownSession):
        store.get("s1")


# --- room names -------------------------------------------------------------------------------------


async def test_the_name_of_a_room_in_use_is_taken(store: Store, clock: VirtualClock) -> None:
    """However old its session is."""
    await store.add(given.a_session())
    clock.now += 3_600
    with pytest.raises(RoomNameTaken, match="'demo'") as caught:
        await store.add(another("s2"))
    assert (caught.value.room_name, caught.value.retry_after) == ("demo", NAME_QUARANTINE)
    assert store.in_room("demo") is store.get("s1")


async def test_the_name_of_a_deleted_room_is_taken_for_30_seconds(store: Store, clock: VirtualClock) -> None:
    """For other callers. The error says for how long; then the name can be used again."""
    await store.add(replace(given.a_session(), owner="acme"))
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
        await store.update("s1", event)
    clock.now += NAME_QUARANTINE - 10
    with pytest.raises(RoomNameTaken) as caught:
        await store.add(another("s2"))
    assert caught.value.retry_after == 10
    clock.now += 10
    await store.add(another("s2"))
    assert store.in_room("demo") is store.get("s2")
    assert store.get("s1").over


@pytest.mark.parametrize("deleted", [False, True])
async def test_the_room_name_quarantine_begins_when_the_room_is_deleted(
    store: Store, clock: VirtualClock, deleted: bool
) -> None:
    """A room that could not be deleted yet still exists, and would be taken for the new one."""
    await store.add(given.a_session())
    await store.update("s1", ev.SessionClosed(START))
    await store.update("s1", ev.CleanUpStarted(START))
    clock.now = START + NAME_QUARANTINE
    if deleted:
        await store.update("s1", ev.CleanedUp(clock.now))
        clock.now += 10
    with pytest.raises(RoomNameTaken):
        await store.add(another("s2"))


async def test_removing_an_old_session_does_not_free_the_room_name_of_a_new_one(
    store: Store, clock: VirtualClock
) -> None:
    """By then the name is the new one's."""
    await store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
        await store.update("s1", event)
    clock.now += NAME_QUARANTINE
    await store.add(another("s2"))
    await store.remove("s1")
    assert store.in_room("demo") is store.get("s2")
    with pytest.raises(RoomNameTaken):
        await store.add(another("s3"))


async def test_the_owner_may_use_the_name_of_a_room_that_was_deleted_at_once(store: Store) -> None:
    await store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START)):
        await store.update("s1", event)
    await store.add(another("s2"))
    assert store.in_room("demo") is store.get("s2")


async def test_what_came_before_the_deletion_of_a_room_does_not_make_it_long(store: Store, clock: VirtualClock) -> None:
    """Such as the wait for a manager that was still joining."""
    await store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START + 4, START + 3)):
        await store.update("s1", event)
    clock.now = START + 4
    await store.add(another("s2"))
    assert store.in_room("demo") is store.get("s2")


async def test_the_owner_waits_for_a_room_whose_deletion_took_long(store: Store, clock: VirtualClock) -> None:
    """It may still go on, and take the new room with it."""
    await store.add(given.a_session())
    for event in (ev.SessionClosed(START), ev.CleanUpStarted(START), ev.CleanedUp(START + 3)):
        await store.update("s1", event)
    clock.now = START + 3
    with pytest.raises(RoomNameTaken) as caught:
        await store.add(another("s2"))
    assert caught.value.retry_after == NAME_QUARANTINE


async def test_a_room_that_was_never_ours_does_not_hold_its_name(store: Store) -> None:
    """The request for it was abandoned, and LiveKit has refused it since."""
    await store.add(given.a_session())
    for event in (*given.requested(), ev.SessionClosed(START), ev.RoomRefused(START, taken=True)):
        await store.update("s1", event)
    await store.add(replace(another("s2"), owner="acme"))


async def test_a_session_with_a_taken_room_name_is_not_stored(store: Store) -> None:
    await store.add(given.a_session())
    with pytest.raises(RoomNameTaken):
        await store.add(another("s2"))
    with pytest.raises(UnknownSession):
        store.get("s2")


# --- changing ---------------------------------------------------------------------------------------


async def test_an_update_returns_the_session_as_it_then_is(store: Store) -> None:
    """And stores it. An event that changes nothing returns the same object."""
    await store.add(given.a_session(given.JOINS))
    session = await store.update("s1", ev.RoomRequested(START))
    assert session is store.get("s1")
    assert session.room.requested_at == START
    assert await store.update("s1", ev.RoomRequested(START + 1)) is session


async def test_updates_are_applied_in_the_order_of_their_calls(store: Store) -> None:
    """Also when all are called at once."""
    await store.add(given.a_session(given.JOINS))
    answers = await asyncio.gather(*(store.update("s1", event) for event in TO_READY))
    expected = [given.after(given.a_session(given.JOINS), *TO_READY[: n + 1]) for n in range(len(TO_READY))]
    assert answers == expected
    assert is_ready(store.get("s1"))


async def test_a_change_of_one_session_does_not_affect_another(store: Store) -> None:
    """Nor does it wake those that wait for the other."""
    await store.add(given.a_session(given.JOINS))
    await store.add(another("s2", "room-2"))
    asked = 0

    def count(session: Session) -> bool:
        nonlocal asked
        asked += 1
        return False

    (task,) = await waiting(store, count)
    await store.update("s2", ev.RoomRequested(START))
    await let_others_run()
    assert (asked, store.get("s1").room.requested_at) == (1, None)
    task.cancel()


# --- waiting ----------------------------------------------------------------------------------------


async def test_wait_for_returns_at_once_if_the_session_is_as_wanted_already(store: Store) -> None:
    await store.add(given.after(given.a_session(given.JOINS), *TO_READY))
    assert await store.wait_for("s1", is_ready) is store.get("s1")


async def test_a_change_wakes_every_waiter(store: Store) -> None:
    """With the session as it was wanted, each of a hundred."""
    await store.add(given.a_session(given.JOINS))
    tasks = await waiting(store, is_ready, how_many=100)
    for event in TO_READY:
        assert not any(task.done() for task in tasks)
        await store.update("s1", event)
        await let_others_run()
    assert {id(session) for session in await asyncio.gather(*tasks)} == {id(store.get("s1"))}


async def test_a_waiter_is_checked_once_for_each_change(store: Store) -> None:
    """An event that changes nothing wakes no waiter."""
    await store.add(given.a_session(given.JOINS))
    asked_with: list[float | None] = []

    def note(session: Session) -> bool:
        asked_with.append(session.room.requested_at)
        return False

    (task,) = await waiting(store, note)
    for at in (START, START + 1, START + 2):
        await store.update("s1", ev.RoomRequested(at))
        await let_others_run()
    assert asked_with == [None, START]
    task.cancel()


async def test_a_waiter_for_a_removed_session_raises_unknown_session(store: Store) -> None:
    """It would wait without end otherwise."""
    await store.add(given.a_session(given.JOINS))
    tasks = await waiting(store, is_ready, how_many=3)
    await store.remove("s1")
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(answer, UnknownSession)


async def test_a_cancelled_waiter_does_not_affect_the_others(store: Store) -> None:
    """A client goes away while others wait for the same session."""
    await store.add(given.after(given.a_session(given.JOINS), *TO_READY[:-1]))
    tasks = await waiting(store, is_ready, how_many=3)
    tasks[0].cancel()
    await let_others_run()
    await store.update("s1", TO_READY[-1])
    assert [is_ready(await task) for task in tasks[1:]] == [True, True]
    assert tasks[0].cancelled()


async def test_cancelled_waiters_leave_nothing_behind(store: Store) -> None:
    """Thousands may come and go while nothing happens to a session."""
    await store.add(given.a_session(given.JOINS))
    for _ in range(3):
        tasks = await waiting(store, is_ready, how_many=1_000)
        assert store.waiters == 1_000
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert store.waiters == 0


async def test_repeated_short_waits_cost_no_memory(store: Store) -> None:
    """What they left behind would show as objects that grow with their number."""
    await store.add(given.a_session(given.JOINS))

    async def come_and_go(times: int) -> int:
        for _ in range(times):
            with suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await store.wait_for("s1", is_ready)
        gc.collect()
        return len(gc.get_objects())

    before = await come_and_go(100)
    assert await come_and_go(5_000) - before < 500


async def test_no_waiter_is_left_once_a_session_is_as_wanted_or_removed(store: Store) -> None:
    await store.add(given.a_session(given.JOINS))
    await store.add(another("s2", "room-2"))
    tasks = await waiting(store, is_ready, how_many=3)
    assert store.waiters == 3
    for event in TO_READY:
        await store.update("s1", event)
    await asyncio.gather(*tasks)
    other = asyncio.create_task(store.wait_for("s2", is_ready))
    await let_others_run()
    assert store.waiters == 1
    await store.remove("s2")
    await asyncio.wait({other})
    assert (store.waiters, isinstance(other.exception(), UnknownSession)) == (0, True)


# --- listening --------------------------------------------------------------------------------------


async def test_a_listener_gets_every_change_in_order_and_nothing_else(store: Store) -> None:
    """Also those within one loop turn; and a new session, with nothing before it."""
    told: list[Change] = []
    store.listen(told.append)
    await store.add(given.a_session(given.JOINS))
    for event in (*TO_READY, TO_READY[-1], given.left("sm-asr-1", "PA_1", START + 2)):
        await store.update("s1", event)
    assert [change.before for change in told] == [None, *(change.after for change in told[:-1])]
    assert told[0] == Change("s1", None, given.a_session(given.JOINS))
    assert told[-1].after is store.get("s1")
    assert [change.after and change.after.state for change in told][-2:] == [SessionState.READY, SessionState.DEGRADED]
    assert [change.event for change in told] == [None, *TO_READY, given.left("sm-asr-1", "PA_1", START + 2)]


async def test_a_listener_is_told_that_a_session_is_removed(store: Store) -> None:
    await store.add(given.a_session(given.JOINS))
    told: list[Change] = []
    store.listen(told.append)
    await store.remove("s1")
    assert told == [Change("s1", given.a_session(given.JOINS), None)]


async def test_a_listener_finds_the_changed_session_in_the_store(store: Store) -> None:
    found: list[bool] = []
    store.listen(lambda change: found.append(store.get("s1") is change.after))
    await store.add(given.a_session(given.JOINS))
    await store.update("s1", ev.RoomRequested(START))
    assert found == [True, True]


async def test_a_listener_is_not_called_for_a_taken_room_name(store: Store) -> None:
    await store.add(given.a_session())
    told: list[Change] = []
    store.listen(told.append)
    with pytest.raises(RoomNameTaken):
        await store.add(another("s2"))
    assert told == []


async def test_a_listener_that_raises_is_logged_and_changes_nothing(store: Store) -> None:
    """The other listeners are called all the same."""

    def breaks(change: Change) -> None:
        raise RuntimeError("unexpected")

    told: list[Change] = []
    store.listen(breaks)
    store.listen(told.append)
    with capture_logs() as logs:
        await store.add(given.a_session(given.JOINS))
        session = await store.update("s1", ev.RoomRequested(START))
    assert session is store.get("s1")
    assert session.room.requested_at == START
    assert len(told) == 2
    assert [(entry["event"], entry["session_id"]) for entry in logs] == [("listener_fault", "s1")] * 2


async def test_the_store_reports_the_duration_of_each_update(make_store: MakeStore) -> None:
    """Also of one that changed nothing; not of one for an unknown session."""
    took: list[float] = []
    store = await make_store(timing=took.append)
    await store.add(given.a_session(given.JOINS))
    for _ in range(2):
        await store.update("s1", ev.RoomRequested(START))
    with pytest.raises(UnknownSession):
        await store.update("s2", ev.RoomRequested(START))
    assert len(took) == 2
    assert min(took) > 0
