"""Whether one identity is in the room, from joins and leaves that are reported late, twice and out of order."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.session.participant import (
    LISTING_LAG,
    MISSES_MAX,
    REMEMBERED_LEAVES,
    REMOVAL_PAUSE,
    ROOM_EVENT_LAG,
    SUCCESSOR_MISSED_FOR,
    Departure,
    Presence,
    Removals,
)

pytestmark = pytest.mark.unit

ANONYMOUS = Presence()
FIRST = ANONYMOUS.seen("PA_1", 1_000, at=1.0)
SECOND = FIRST.seen("PA_2", 2_000, at=2.0)


def test_a_new_presence_is_not_here() -> None:
    """And the leave of an unknown participant does not change that."""
    assert not ANONYMOUS.here
    assert not ANONYMOUS.left("PA_1", at=2.0).here


def test_a_participant_is_here_from_its_join_to_its_own_leave() -> None:
    """The first report of the join is remembered."""
    assert (FIRST.here, FIRST.sid, FIRST.reported_at) == (True, "PA_1", 1.0)
    assert FIRST.left("PA_0", at=2.0).here
    assert not FIRST.left("PA_1", at=2.0).here


@pytest.mark.parametrize("presence", [FIRST, SECOND, FIRST.left("PA_1", at=2.0), FIRST.left("PA_0", at=2.0)])
def test_a_repeated_join_or_leave_changes_nothing(presence: Presence) -> None:
    """The same object comes back."""
    if presence.sid:
        assert presence.seen(presence.sid, presence.joined_ms, at=9.0) is presence
    for sid in presence.gone:
        assert presence.left(sid, at=2.0) is presence


def test_a_newer_participant_replaces_the_older_one_of_its_identity() -> None:
    """LiveKit has one participant of an identity at a time: the older one is gone, even if no leave is reported."""
    assert (SECOND.sid, SECOND.gone) == ("PA_2", ("PA_1",))
    assert SECOND.left("PA_1", at=2.0) is SECOND
    assert SECOND.seen("PA_1", 1_000, at=3.0) is SECOND


def test_a_late_report_of_an_older_join_does_not_replace_the_newer_one() -> None:
    """LiveKit's instants of the joins decide, neither the order of the reports nor whether the newer one is still
    here."""
    newer = ANONYMOUS.seen("PA_2", 2_000, at=1.0)
    assert newer.seen("PA_1", 1_000, at=2.0) is newer
    gone = newer.left("PA_2", at=2.0)
    assert gone.seen("PA_1", 1_000, at=2.0) is gone


def test_joins_without_an_instant_are_ordered_by_their_report() -> None:
    """A source without instants is better than none."""
    assert FIRST.seen("PA_2", 0, at=2.0).sid == "PA_2"
    assert ANONYMOUS.seen("PA_1", 0, at=1.0).seen("PA_2", 2_000, at=2.0).sid == "PA_2"


def test_a_leave_reported_before_its_join_is_remembered() -> None:
    """Once the join is reported, it is over already."""
    assert not ANONYMOUS.left("PA_1", at=2.0).seen("PA_1", 1_000, at=2.0).here


def test_a_newer_participant_that_joined_and_left_leaves_the_identity_absent() -> None:
    """Its leave was reported before its join: by then the one before it is gone too."""
    overtaken = FIRST.left("PA_2", at=2.0).overtaken("PA_2", 2_000)
    assert (overtaken.here, overtaken.gone) == (False, ("PA_2", "PA_1"))
    assert not ANONYMOUS.left("PA_2", at=2.0).overtaken("PA_2", 2_000).seen("PA_1", 1_000, at=3.0).here
    assert FIRST.left("PA_0", at=2.0).overtaken("PA_0", 500).here
    assert FIRST.overtaken("PA_2", 2_000) is FIRST


def missed(presence: Presence, *asked_at: float, is_watched: bool = False) -> Presence:
    return reduce(lambda latest, at: latest.missed(at, is_watched=is_watched), asked_at, presence)


def test_a_participant_is_gone_only_after_several_listings_lacked_it() -> None:
    """Over some time: an eventually consistent store may lack it twice in the same moment."""
    assert missed(FIRST, 5.0, 5.1).here
    assert missed(FIRST, 5.0, 5.1, 5.2, 5.9).here
    assert not missed(FIRST, 5.0, 5.1, 6.0).here


def test_a_participant_after_another_of_its_identity_is_missed_for_longer() -> None:
    """LiveKit deletes its entry when it closes the earlier one (livekit#2399)."""
    presence = ANONYMOUS.seen("PA_2", 2_000, at=1.0).left("PA_1", at=2.0)
    for asked_at in (3.0, 3.5, 4.0, 2.0 + SUCCESSOR_MISSED_FOR):
        presence = presence.missed(asked_at, is_watched=False)
        assert presence.here
    assert not presence.missed(3.0 + SUCCESSOR_MISSED_FOR, is_watched=False).here


def test_a_listing_counts_only_if_requested_after_the_join_was_known() -> None:
    """What was learned later wins."""
    assert FIRST.missed(0.9, is_watched=False) is FIRST
    assert FIRST.missed(1.0, is_watched=False) is FIRST
    assert FIRST.missed(1.1, is_watched=False).misses == 1


def test_a_listing_that_shows_the_participant_clears_the_earlier_misses() -> None:
    found = missed(FIRST, 5.0, 5.1).seen("PA_1", 1_000, at=5.2, shown_at=5.2)
    assert found == FIRST
    assert missed(found, 7.0, 9.0).here


def test_listings_never_end_what_the_manager_sees_in_the_room() -> None:
    watched = FIRST.seen("PA_1", 1_000, at=1.5, shown_at=1.5, by="sm-manager-1")
    doubted = missed(watched, *range(5, 100), is_watched=True)
    assert doubted.here
    assert not doubted.missed(101.0, is_watched=False).here


@pytest.mark.parametrize("shown_at", [None, 7.0])
def test_an_unlisted_participant_returns_when_any_source_shows_it(shown_at: float | None) -> None:
    gone = missed(FIRST, 5.0, 5.1, 6.0)
    back = gone.seen("PA_1", 1_000, at=7.0, shown_at=shown_at)
    assert (back.sid, back.gone) == ("PA_1", ())
    assert gone.seen("PA_2", 2_000, at=7.0).sid == "PA_2"


@pytest.mark.parametrize(
    ("left_by", "shown_at", "shown_by", "is_back"),
    [
        (None, None, None, False),
        (None, 10.0 + LISTING_LAG - 0.1, None, False),
        (None, 10.0 + LISTING_LAG, None, True),
        (None, 10.0 + ROOM_EVENT_LAG - 0.1, "sm-manager-1", False),
        (None, 10.0 + ROOM_EVENT_LAG, "sm-manager-1", True),
        ("sm-manager-1", 10.0, "sm-manager-1", True),
        ("sm-manager-1", 10.0 + LISTING_LAG, None, True),
    ],
)
def test_a_participant_reported_to_have_left_is_back_when_it_is_shown_later(
    left_by: str | None, shown_at: float | None, shown_by: str | None, is_back: bool
) -> None:
    """Not by a webhook, which may be late, nor by a source that may not know of the leave yet."""
    gone = FIRST.left("PA_1", at=10.0, by=left_by)
    back = gone.seen("PA_1", 1_000, at=20.0, shown_at=shown_at, by=shown_by)
    assert back.here is is_back
    assert ("PA_1" in back.gone) is not is_back


def test_a_participant_that_was_replaced_by_a_newer_one_never_returns() -> None:
    for replaced in (SECOND, SECOND.left("PA_2", at=3.0), FIRST.void(), FIRST.left("PA_1", at=3.0).void()):
        assert replaced.seen("PA_1", 1_000, at=99.0, shown_at=99.0, by="sm-manager-1").sid != "PA_1"


def test_an_identity_stays_here_while_its_participant_is_put_out_by_the_next() -> None:
    """The join of the next one may be reported first, later, or not at all before its leave."""
    replaced = FIRST.replaced("PA_1", at=2.0)
    assert (replaced.here, replaced.misses, replaced.gone) == (True, 1, ("PA_1",))
    assert replaced.replaced("PA_1", at=2.5) is replaced
    assert replaced.seen("PA_1", 1_000, at=3.0, shown_at=3.0, by="sm-manager-1") is replaced
    assert replaced.overtaken("PA_1", 1_000) is replaced
    successor = replaced.seen("PA_2", 2_000, at=3.0)
    assert (successor.sid, successor.misses, successor.gone) == ("PA_2", 0, ("PA_1",))
    assert SECOND.replaced("PA_1", at=3.0) is SECOND
    assert not replaced.left("PA_2", at=3.0).overtaken("PA_2", 2_000).here
    assert not ANONYMOUS.replaced("PA_1", at=1.0).seen("PA_1", 1_000, at=2.0).here


def test_an_identity_whose_participant_was_put_out_is_gone_once_listings_lack_it() -> None:
    """Also if the manager saw the participant: no source has shown its successor."""
    watched = FIRST.seen("PA_1", 1_000, at=1.5, shown_at=1.5, by="sm-manager-1")
    replaced = watched.replaced("PA_1", at=2.0)
    assert replaced.seen_by is None
    again = replaced.missed(2.1, is_watched=False)
    assert again.here
    assert not again.missed(3.1, is_watched=False).here


def test_a_participant_reported_as_put_out_is_back_when_it_is_shown_later() -> None:
    back = FIRST.replaced("PA_1", at=2.0).seen("PA_1", 1_000, at=9.0, shown_at=9.0)
    assert (back.sid, back.gone, back.misses, back.leave_reported_at) == ("PA_1", (), 0, None)


def test_a_reported_end_of_a_participant_counts_for_more_than_the_doubt_whether_it_was_replaced() -> None:
    """LiveKit removed it, or told another reason."""
    assert not FIRST.replaced("PA_1", at=2.0).left("PA_1", at=3.0).here


def test_the_number_of_remembered_leaves_is_limited() -> None:
    """A client that reconnects all day does not fill the memory, and older joins stay older all the same."""
    presence = ANONYMOUS
    for number in range(1, 1_000):
        presence = presence.seen(f"PA_{number}", number, at=float(number)).left(f"PA_{number}", at=2.0)
    assert len(presence.gone) == REMEMBERED_LEAVES
    assert not presence.seen("PA_5", 5, at=2_000.0).here


def test_a_report_that_tells_nothing_new_changes_nothing() -> None:
    replaced = FIRST.replaced("PA_1", at=2.0)
    assert (replaced.missed_since, replaced.leave_reported_at) == (2.0, 2.0)
    watched = FIRST.left("PA_1", at=2.0, is_watched=True)
    assert (watched.here, watched.leave_reported_at) == (True, 2.0)
    assert watched.left("PA_1", at=3.0, is_watched=True) is watched
    doubted = missed(FIRST, *(5.0 + 0.1 * number for number in range(MISSES_MAX)))
    assert doubted.missed(5.5, is_watched=False) is doubted
    assert (doubted.misses, doubted.missed_since) == (MISSES_MAX, 5.0)


def test_a_listing_confirms_a_reported_leave_of_one_whom_the_manager_sees() -> None:
    watched = FIRST.left("PA_1", at=2.0, is_watched=True)
    assert missed(watched, 1.9, is_watched=True).here
    gone = missed(watched, 2.0, is_watched=True)
    assert (gone.here, gone.gone, gone.last) == (False, ("PA_1",), Departure("PA_1", 2.0, None))


def test_what_listings_lacked_is_remembered_as_one_that_may_return() -> None:
    gone = missed(SECOND, *(5.0 + number * SUCCESSOR_MISSED_FOR for number in range(MISSES_MAX + 1)))
    assert (gone.here, gone.joined_ms, gone.gone) == (False, 2_000, ("PA_1",))
    assert gone.last == Departure("PA_2", -math.inf, None)


def test_the_pauses_between_the_tries_to_remove_a_participant_grow() -> None:
    first = Removals().started("PA_1").ended(10.0)
    assert (first.tries, first.due_at("PA_1"), first.due_at("PA_2")) == (1, 10.0 + REMOVAL_PAUSE, -math.inf)
    second = first.started("PA_1").ended(20.0)
    assert (second.tries, second.due_at("PA_1")) == (2, 20.0 + 2 * REMOVAL_PAUSE)
    assert second.started("PA_2").ended(30.0).due_at("PA_2") == 30.0 + REMOVAL_PAUSE, "another participant"


@settings(max_examples=300, derandomize=True)
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
            presence = presence.left(f"PA_{number}", at=2.0)
        else:
            presence = presence.overtaken(f"PA_{number}", number).seen(f"PA_{number}", number, at=1.0)
    assert presence.sid == (f"PA_{count}" if last_one_stays else None)
