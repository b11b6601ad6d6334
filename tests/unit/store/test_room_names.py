"""Room names reserved by tokens: as long as any token opens a room of that name."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from manager_agent.records.records import Kind, Records
from manager_agent.store.room_names import LEEWAY, RoomNames
from tests.unit.sessions import START
from tests.unit.virtual_time import VirtualClock

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def names(records: Records, clock: VirtualClock) -> RoomNames:
    return RoomNames(records, clock)


def test_name_is_reserved_until_the_last_token_expires(names: RoomNames, clock: VirtualClock) -> None:
    """And LiveKit accepts it no more, whichever session of the owner gave it out. The owner itself need not wait."""
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    names.issued("demo", "s2", "acme", START + 100, is_recognized=True)
    assert names.reserved_for("demo", "rival") == 180 + LEEWAY
    assert names.reserved_for("demo", "acme") == 0
    assert names.reserved_for("another", "rival") == 0
    clock.now += 179.5 + LEEWAY
    assert names.reserved_for("demo", "rival") == 0.5
    clock.now += 0.5
    assert names.reserved_for("demo", "rival") == 0


def test_owner_waits_for_tokens_whose_holder_can_hide_the_session(names: RoomNames, clock: VirtualClock) -> None:
    """As long as LiveKit accepts them."""
    names.issued("demo", "s1", "acme", START + 180, is_recognized=False)
    names.issued("demo", "s1", "acme", START + 200, is_recognized=True)
    assert names.reserved_for("demo", "acme") == 180 + LEEWAY
    assert names.reserved_for("demo", "rival") == 200 + LEEWAY


def test_tokens_of_a_session_may_enter_as_long_as_livekit_accepts_them(names: RoomNames, clock: VirtualClock) -> None:
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    clock.now += 180 + LEEWAY - 1
    assert names.may_enter("demo", "s1")
    assert not names.may_enter("demo", "s2")
    assert not names.may_enter("another", "s1")
    clock.now += 1
    assert not names.may_enter("demo", "s1")
    assert not names.is_reserved("demo")


def test_next_owner_of_a_name_replaces_the_earlier_one(names: RoomNames, clock: VirtualClock) -> None:
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    clock.now += 180 + LEEWAY
    names.issued("demo", "s2", "rival", START + 400, is_recognized=True)
    assert names.reserved_for("demo", "rival") == 0
    assert names.reserved_for("demo", "acme") == 220
    assert (names.count_of("acme"), names.count_of("rival")) == (0, 1)


def test_ended_reservations_are_forgotten(names: RoomNames, clock: VirtualClock) -> None:
    """Also the sessions of a name that is used over and over."""
    valid = int(180 + LEEWAY)
    for n in range(4 * valid):
        clock.now += 1
        names.issued(f"room-{n}", f"s{n}", "acme", clock.now + 180, is_recognized=True)
        names.issued("demo", f"s{n}", "rival", clock.now + 180, is_recognized=True)
    assert (names.count, names.count_of("acme"), names.count_of("rival")) == (2 * valid, valid, valid)
    assert sum(names.may_enter("demo", f"s{n}") for n in range(4 * valid)) == valid
    clock.now += valid
    assert (names.count, names.count_of("acme"), names.reserved_for("demo", "acme")) == (0, 0, 0)


def test_later_token_of_a_session_is_counted_once_and_kept_to_its_end(names: RoomNames, clock: VirtualClock) -> None:
    names.issued("demo", "s1", "acme", START + 100, is_recognized=True)
    names.issued("demo", "s1", "acme", START + 300, is_recognized=True)
    clock.now += 299 + LEEWAY
    assert names.count == names.count_of("acme") == 1
    assert names.may_enter("demo", "s1")
    clock.now += 1
    assert names.count == 0


async def test_names_are_reserved_in_the_next_process_as_long_as_in_this_one(
    names: RoomNames, records: Records, clock: VirtualClock
) -> None:
    names.issued("demo", "s1", "acme", START + 180, is_recognized=False)
    names.issued("demo", "s1", "acme", START + 100, is_recognized=True)
    names.issued("demo", "s2", "acme", START + 300, is_recognized=True)
    names.issued("hall", "s3", "rival", START + 50, is_recognized=True)
    await records.committed()
    restarted = RoomNames(records, clock)
    await restarted.start()
    for one in (names, restarted):
        assert (one.reserved_for("demo", "acme"), one.reserved_for("demo", "rival")) == (180 + LEEWAY, 300 + LEEWAY)
        assert one.reserved_for("hall", "acme") == 50 + LEEWAY
        assert (one.may_enter("demo", "s2"), one.may_enter("hall", "s2")) == (True, False)
        assert (one.count, one.count_of("acme"), one.count_of("rival")) == (3, 2, 1)
    clock.now += 200 + LEEWAY
    assert [record.key for record in await records.load(Kind.ROOM_NAME)] == ["s2"]


async def test_reservation_that_can_not_be_read_is_skipped_and_logged(names: RoomNames, records: Records) -> None:
    records.put(Kind.ROOM_NAME, "s0", b"1.{}")
    names.issued("demo", "s1", "acme", START + 180, is_recognized=True)
    records.put(Kind.ROOM_NAME, "s2", b'2.{"name":"hall"}')
    await records.committed()
    restarted = RoomNames(records, lambda: START)
    with capture_logs() as logs:
        await restarted.start()
    assert restarted.count == 1
    assert [(entry["event"], entry["kind"], entry["count"]) for entry in logs] == [
        ("records_unreadable", "room_name", 2)
    ]
