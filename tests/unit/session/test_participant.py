"""Whether one identity is in the room, from tales of joins and leaves that come late, doubled and out of order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.session.participant import REMEMBERED_LEAVES, Presence

pytestmark = pytest.mark.unit

ANONYMOUS = Presence()
FIRST = ANONYMOUS.seen("PA_1", 1_000, at=1.0)
SECOND = FIRST.seen("PA_2", 2_000, at=2.0)


def test_nobody_is_here_at_first() -> None:
    """And a leave of somebody unknown does not change that."""
    assert not ANONYMOUS.here
    assert not ANONYMOUS.left("PA_1").here


def test_who_was_seen_is_here_until_that_very_participant_leaves() -> None:
    """The first time it is told is remembered."""
    assert (FIRST.here, FIRST.sid, FIRST.told_at) == (True, "PA_1", 1.0)
    assert FIRST.left("PA_0").here
    assert not FIRST.left("PA_1").here


@pytest.mark.parametrize("presence", [FIRST, SECOND, FIRST.left("PA_1"), FIRST.left("PA_0")])
def test_what_is_told_twice_is_no_news(presence: Presence) -> None:
    """The same object comes back."""
    if presence.sid:
        assert presence.seen(presence.sid, presence.joined_ms, at=9.0) is presence
    for sid in presence.gone:
        assert presence.left(sid) is presence


def test_a_newer_participant_takes_the_place_of_the_older() -> None:
    """LiveKit has one participant of an identity at a time: the older one is gone, also when nobody says so."""
    assert (SECOND.sid, SECOND.gone) == ("PA_2", ("PA_1",))
    assert SECOND.left("PA_1") is SECOND
    assert SECOND.seen("PA_1", 1_000, at=3.0) is SECOND


def test_an_older_participant_told_late_does_not_take_the_place_of_the_newer() -> None:
    """LiveKit's instants of the joins decide, neither the order of the tales nor whether the newer is still here."""
    newer = ANONYMOUS.seen("PA_2", 2_000, at=1.0)
    assert newer.seen("PA_1", 1_000, at=2.0) is newer
    gone = newer.left("PA_2")
    assert gone.seen("PA_1", 1_000, at=2.0) is gone


def test_without_an_instant_what_is_told_later_counts_as_newer() -> None:
    """A source that does not tell instants is better than none."""
    assert FIRST.seen("PA_2", 0, at=2.0).sid == "PA_2"
    assert ANONYMOUS.seen("PA_1", 0, at=1.0).seen("PA_2", 2_000, at=2.0).sid == "PA_2"


def test_a_leave_told_before_its_join_is_remembered() -> None:
    """When the join is told at last, it is over already."""
    assert not ANONYMOUS.left("PA_1").seen("PA_1", 1_000, at=2.0).here


def test_a_newer_one_that_has_come_and_gone_leaves_nobody() -> None:
    """Its leave was told before its join: by then the one before it is gone too."""
    overtaken = FIRST.left("PA_2").overtaken("PA_2", 2_000)
    assert (overtaken.here, overtaken.gone) == (False, ("PA_2", "PA_1"))
    assert not ANONYMOUS.left("PA_2").overtaken("PA_2", 2_000).seen("PA_1", 1_000, at=3.0).here
    assert FIRST.left("PA_0").overtaken("PA_0", 500).here
    assert FIRST.overtaken("PA_2", 2_000) is FIRST


def test_a_listing_counts_only_if_it_was_asked_for_after_the_join_was_told() -> None:
    """What was learnt later wins."""
    assert FIRST.not_listed(asked_at=0.9) is FIRST
    assert FIRST.not_listed(asked_at=1.0) is FIRST
    assert not FIRST.not_listed(asked_at=1.1).here
    assert ANONYMOUS.not_listed(asked_at=1.1) is ANONYMOUS


def test_who_was_not_listed_does_not_come_back_by_an_old_tale() -> None:
    """It counts as a leave of that very participant."""
    gone = FIRST.not_listed(asked_at=5.0)
    assert gone.seen("PA_1", 1_000, at=6.0) is gone
    assert gone.seen("PA_2", 2_000, at=6.0).here


def test_only_so_many_leaves_are_remembered() -> None:
    """One that comes and goes all day does not fill the memory, and older joins stay older all the same."""
    presence = ANONYMOUS
    for number in range(1, 1_000):
        presence = presence.seen(f"PA_{number}", number, at=float(number)).left(f"PA_{number}")
    assert len(presence.gone) == REMEMBERED_LEAVES
    assert not presence.seen("PA_5", 5, at=2_000.0).here


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.data())
def test_in_whatever_order_all_is_told_the_end_is_the_truth(data: st.DataObject) -> None:
    """Each participant's join and leave, told at least once and shuffled; the last one may still be here."""
    count = data.draw(st.integers(1, 5))
    last_one_stays = data.draw(st.booleans())
    joins = [("seen", number) for number in range(1, count + 1)]
    leaves = [("left", number) for number in range(1, count + 1 - last_one_stays)]
    again = data.draw(st.lists(st.sampled_from(joins + leaves), max_size=4))
    presence = ANONYMOUS
    for what, number in data.draw(st.permutations(joins + leaves + again)):
        if what == "left":
            presence = presence.left(f"PA_{number}")
        else:
            presence = presence.overtaken(f"PA_{number}", number).seen(f"PA_{number}", number, at=1.0)
    assert presence.sid == (f"PA_{count}" if last_one_stays else None)
