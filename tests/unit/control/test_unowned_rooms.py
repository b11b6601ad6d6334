"""When the rooms that no session owns are deleted, however often that fails."""

from __future__ import annotations

import pytest

from manager_agent.control.unowned_rooms import AT_ONCE, PAUSE, PAUSE_MAX, UNDELETABLE_TRIES, UnownedRooms
from manager_agent.livekit.listed_room import ListedRoom

pytestmark = pytest.mark.unit

ROOM = ListedRoom(name="demo", sid="RM_1", session_id="ses_1", is_ours=True)


def tries_at(unowned: UnownedRooms, now: float) -> list[int]:
    return [number for _, number in unowned.due([ROOM], now)]


def test_unowned_room_is_not_deleted_when_it_is_first_listed() -> None:
    unowned = UnownedRooms()
    assert tries_at(unowned, 0) == []
    assert tries_at(unowned, 1) == [1]


def test_pauses_between_deletions_of_an_unowned_room_double() -> None:
    unowned = UnownedRooms()
    assert [tries_at(unowned, at) for at in (0, 1, PAUSE, 1 + PAUSE, 3 * PAUSE, 1 + 3 * PAUSE)] == [
        *([], [1], [], [2]),
        *([], [3]),
    ]
    assert unowned.undeletable == 1


def test_unowned_room_that_livekit_never_deletes_is_tried_for_as_long_as_it_is_listed() -> None:
    """For more than a month: a power of two for each try would no longer be a number."""
    unowned = UnownedRooms()
    tries_at(unowned, 0)
    tries = [tries_at(unowned, number * PAUSE_MAX) for number in range(1, 1_200)]
    assert tries == [[number] for number in range(1, 1_200)]


def test_room_that_is_no_longer_listed_is_not_undeletable() -> None:
    unowned = UnownedRooms()
    for number in range(UNDELETABLE_TRIES + 1):
        tries_at(unowned, number * PAUSE_MAX)
    assert unowned.undeletable == 1
    assert unowned.due([], 0) == []
    assert unowned.undeletable == 0


def test_many_rooms_that_livekit_cannot_delete_let_the_others_have_their_turn() -> None:
    rooms = [ListedRoom(f"room-{n}", f"RM_{n}", f"ses_{n}", is_ours=True) for n in range(3 * AT_ONCE)]
    unowned, tried = UnownedRooms(), set[str]()
    for number in range(4):
        due = unowned.due(rooms, float(number))
        assert len(due) <= AT_ONCE
        tried |= {room.sid for room, _ in due}
    assert len(tried) == len(rooms)
