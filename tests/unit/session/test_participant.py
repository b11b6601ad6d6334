"""Whether one identity is in the room, from joins and leaves that are reported late, twice and out of order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.session.participant import REMEMBERED_LEAVES, Presence

pytestmark = pytest.mark.unit

ANONYMOUS = Presence()
FIRST = ANONYMOUS.seen("PA_1", 1_000, at=1.0)
SECOND = FIRST.seen("PA_2", 2_000, at=2.0)


def test_a_new_presence_is_not_here() -> None:
    """And the leave of an unknown participant does not change that."""
    assert not ANONYMOUS.here
    assert not ANONYMOUS.left("PA_1").here


def test_a_participant_is_here_from_its_join_to_its_own_leave() -> None:
    """The first report of the join is remembered."""
    assert (FIRST.here, FIRST.sid, FIRST.reported_at) == (True, "PA_1", 1.0)
    assert FIRST.left("PA_0").here
    assert not FIRST.left("PA_1").here


@pytest.mark.parametrize("presence", [FIRST, SECOND, FIRST.left("PA_1"), FIRST.left("PA_0")])
def test_a_repeated_join_or_leave_changes_nothing(presence: Presence) -> None:
    """The same object comes back."""
    if presence.sid:
        assert presence.seen(presence.sid, presence.joined_ms, at=9.0) is presence
    for sid in presence.gone:
        assert presence.left(sid) is presence


def test_a_newer_participant_replaces_the_older_one_of_its_identity() -> None:
    """LiveKit has one participant of an identity at a time: the older one is gone, even if no leave is reported."""
    assert (SECOND.sid, SECOND.gone) == ("PA_2", ("PA_1",))
    assert SECOND.left("PA_1") is SECOND
    assert SECOND.seen("PA_1", 1_000, at=3.0) is SECOND


def test_a_late_report_of_an_older_join_does_not_replace_the_newer_one() -> None:
    """LiveKit's instants of the joins decide, neither the order of the reports nor whether the newer one is still
    here."""
    newer = ANONYMOUS.seen("PA_2", 2_000, at=1.0)
    assert newer.seen("PA_1", 1_000, at=2.0) is newer
    gone = newer.left("PA_2")
    assert gone.seen("PA_1", 1_000, at=2.0) is gone


def test_joins_without_an_instant_are_ordered_by_their_report() -> None:
    """A source without instants is better than none."""
    assert FIRST.seen("PA_2", 0, at=2.0).sid == "PA_2"
    assert ANONYMOUS.seen("PA_1", 0, at=1.0).seen("PA_2", 2_000, at=2.0).sid == "PA_2"


def test_a_leave_reported_before_its_join_is_remembered() -> None:
    """Once the join is reported, it is over already."""
    assert not ANONYMOUS.left("PA_1").seen("PA_1", 1_000, at=2.0).here


def test_a_newer_participant_that_joined_and_left_leaves_the_identity_absent() -> None:
    """Its leave was reported before its join: by then the one before it is gone too."""
    overtaken = FIRST.left("PA_2").overtaken("PA_2", 2_000)
    assert (overtaken.here, overtaken.gone) == (False, ("PA_2", "PA_1"))
    assert not ANONYMOUS.left("PA_2").overtaken("PA_2", 2_000).seen("PA_1", 1_000, at=3.0).here
    assert FIRST.left("PA_0").overtaken("PA_0", 500).here
    assert FIRST.overtaken("PA_2", 2_000) is FIRST


def test_a_listing_counts_only_if_requested_after_the_join_was_known() -> None:
    """What was learned later wins."""
    assert FIRST.not_listed(asked_at=0.9) is FIRST
    assert FIRST.not_listed(asked_at=1.0) is FIRST
    assert not FIRST.not_listed(asked_at=1.1).here
    assert ANONYMOUS.not_listed(asked_at=1.1) is ANONYMOUS


def test_an_unlisted_participant_does_not_return_by_a_late_report() -> None:
    """Being absent from a listing counts as the leave of that very participant."""
    gone = FIRST.not_listed(asked_at=5.0)
    assert gone.seen("PA_1", 1_000, at=6.0) is gone
    assert gone.seen("PA_2", 2_000, at=6.0).here


def test_the_number_of_remembered_leaves_is_limited() -> None:
    """A client that reconnects all day does not fill the memory, and older joins stay older all the same."""
    presence = ANONYMOUS
    for number in range(1, 1_000):
        presence = presence.seen(f"PA_{number}", number, at=float(number)).left(f"PA_{number}")
    assert len(presence.gone) == REMEMBERED_LEAVES
    assert not presence.seen("PA_5", 5, at=2_000.0).here


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.data())
def test_reports_in_any_order_lead_to_the_true_presence(data: st.DataObject) -> None:
    """Each participant's join and leave, reported at least once and shuffled; the last one may still be here."""
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
