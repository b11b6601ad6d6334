"""What LiveKit's answers say about the room of a session."""

from __future__ import annotations

import math

import pytest

from manager_agent.frozen import replace
from manager_agent.session.events import RoomMissed
from manager_agent.session.room import FOUND_PAUSE, ROOM_MISSES_MAX, Room, generated_room_name

pytestmark = pytest.mark.unit

MADE = Room(requested_at=10, sid="RM_1", created_at=11)


def test_a_generated_name_is_made_of_the_session_id() -> None:
    assert generated_room_name("ses_01JB0000000000000000000000") == "room-01jb0000000000000000000000"


@pytest.mark.parametrize(
    ("room", "was_made"),
    [(Room(), False), (Room(requested_at=10), False), (MADE, True), (Room(requested_at=10, remakes=1), True)],
)
def test_a_room_was_made_once_livekit_has_answered(room: Room, was_made: bool) -> None:
    assert room.was_made is was_made


@pytest.mark.parametrize(
    ("room", "is_undisputed"),
    [
        (MADE, True),
        (Room(requested_at=10), False),
        (replace(MADE, misses=1), False),
        (replace(MADE, reported_closed=True), False),
        (replace(MADE, lost_since=12), False),
        (replace(MADE, remaking_since=12), False),
        (replace(MADE, refusals=1), False),
    ],
)
def test_a_room_is_undisputed_once_it_is_made_and_while_nothing_says_that_it_is_gone(
    room: Room, is_undisputed: bool
) -> None:
    assert room.is_undisputed is is_undisputed


def test_a_room_that_was_found_again_keeps_its_own_facts_and_no_doubt() -> None:
    remade = replace(MADE, remakes=2, previous_lost_at=9)
    doubted = replace(remade, lost_since=20, misses=3, missed_since=19, reported_closed=True, refusals=1)
    assert doubted.found(21) == replace(remade, retry_at=21 + FOUND_PAUSE)


def test_a_listing_that_has_the_room_ends_what_listings_before_it_lacked() -> None:
    missed = MADE.missed(RoomMissed(20, 19))
    assert (missed.misses, missed.missed_since, missed.missed_at) == (1, 19, 20)
    assert missed.listed(19.5, is_silent=False) is missed, "it was asked before"
    found = missed.listed(20, is_silent=False)
    assert found == replace(MADE, missed_at=20)
    assert (found.misses, found.missed_since) == (0, math.inf)
    assert found.unwatched() is found
    assert missed.unwatched() == replace(missed, misses=0, missed_since=math.inf)
    lost = replace(missed, lost_since=19, reported_closed=True)
    assert lost.listed(20, is_silent=False) == replace(MADE, missed_at=20)


def test_a_node_is_silent_from_its_first_missing_answer_to_its_next_answer() -> None:
    silent = MADE.listed(20, is_silent=True)
    assert silent.silent_since == 20
    assert silent.listed(21, is_silent=True).silent_since == 20
    assert silent.listed(22, is_silent=False) == MADE
    assert silent.answered() == MADE
    assert MADE.answered() is MADE


def test_questions_that_overlap_count_once() -> None:
    missed = MADE
    for at in range(20, 30):
        missed = missed.missed(RoomMissed(at + 1, at + 0.5))
    assert (missed.misses, missed.missed_since) == (ROOM_MISSES_MAX, 20.5)
    assert missed.missed(RoomMissed(31, 30)) is missed
