"""Answers of LiveKit that are not true: participants and rooms that its lists lack, show too long or show again, and
webhooks about what did not happen."""

from __future__ import annotations

import math

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.deadlines import SILENCE_MAX, deadline
from manager_agent.session.events import Event, ParticipantInfo, Signal
from manager_agent.session.participant import LISTING_LAG, MISSES_MAX, ROOM_EVENT_LAG
from manager_agent.session.plan import (
    DOUBT_PAUSES,
    LISTING_INTERVAL,
    UNCLEANED_KEPT,
    CheckDeadline,
    CleanUp,
    ListRoom,
    Purge,
    plan,
)
from manager_agent.session.presence_transitions import unlisted
from manager_agent.session.room import ROOM_DOUBTED_FOR
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.session.transitions import CLEAN_UP_PAUSE, CLEAN_UP_PAUSE_MAX, apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, START

pytestmark = pytest.mark.unit

NOW = START + 100
MANAGER, ASR_HERE = ParticipantInfo(given.MANAGER, "PA_manager"), ParticipantInfo("sm-asr-1", "PA_asr")
USER = ParticipantInfo("alice", "PA_user")
Listed = tuple[ParticipantInfo, ...]


def active(*room: Event) -> Session:
    """A session whose service said ready and whose user is there."""
    signals = given.with_instance(given.SIGNALS, service_id="asr-service")
    session = given.after(given.a_session(signals), *room, *given.invited(ASR), *given.accepted(ASR))
    said = given.signal("sm-asr-1", Signal.READY, START + 2)
    session = given.after(
        session, given.seen("sm-asr-1", "PA_asr", START + 1), said, given.seen("alice", "PA_user", START + 3)
    )
    assert session.state is SessionState.ACTIVE
    return session


UNWATCHED = active(*given.created())
WATCHED = given.after(
    active(*given.watched()), given.shown("sm-asr-1", "PA_asr", START + 4), given.shown("alice", "PA_user", START + 4)
)


def listing_at(session: Session) -> float:
    """When the room is to be listed next."""
    now = session.listed_at or START
    while ListRoom() not in plan(session, now).actions and now < math.inf:
        now = plan(session, now).wake_at
    return now


# --- participants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [UNWATCHED, WATCHED], ids=["unwatched", "watched"])
def test_one_listing_that_lacks_everybody_ends_nothing_and_is_repeated_at_once(session: Session) -> None:
    missed = apply(apply(session, ev.ListingStarted(NOW)), given.listed(NOW))
    assert (missed.state, missed.services[ASR].state) == ("active", "ready")
    assert missed.revision == session.revision
    assert listing_at(missed) == pytest.approx(NOW + DOUBT_PAUSES[0])
    again = apply(apply(missed, ev.ListingStarted(NOW + 0.1)), given.listed(NOW + 0.1))
    assert listing_at(again) == pytest.approx(NOW + 0.1 + DOUBT_PAUSES[1])
    shown = given.after(again, ev.ListingStarted(NOW + 1), given.listed(NOW + 1, MANAGER, ASR_HERE, USER))
    assert (shown.doubts, shown.state, shown.user_left_at) == (0, "active", None)


def test_listings_that_keep_lacking_somebody_end_the_presence() -> None:
    left = given.after(UNWATCHED, *given.unlisted(NOW, ASR_HERE))
    assert (left.state, left.user_left_at) == ("ready", NOW)
    lost = given.after(UNWATCHED, *given.unlisted(NOW, USER))
    assert lost.state == "degraded"


def test_what_the_manager_sees_counts_for_more_than_any_number_of_listings() -> None:
    doubted = given.after(WATCHED, *(given.listed(NOW + second) for second in range(100)))
    assert (doubted.state, doubted.manager.presence.here) == ("active", True)
    assert doubted.doubts == 0  # it is listed at the usual pace
    left = apply(doubted, replace(given.left("alice", "PA_user", NOW + 100), seen_by=given.MANAGER))
    assert left.state == "ready"


@pytest.mark.parametrize(("room", "lag"), [(given.created(), 0.0), (given.watched(), ROOM_EVENT_LAG)])
def test_listings_count_against_a_signal_once_the_manager_would_see_its_sender(room: list[Event], lag: float) -> None:
    """The manager hears it at once, and sees the join seconds later."""
    signals = given.with_instance(given.SIGNALS, service_id="asr-service")
    session = given.after(given.a_session(signals), *room, *given.invited(ASR), *given.accepted(ASR))
    said = given.after(session, given.seen("alice", "PA_user", NOW), given.signal("sm-asr-1", Signal.READY, NOW))
    early = given.after(said, *given.unlisted(NOW + max(lag, 0.1) - 0.1, USER))
    assert early.services[ASR].state == "ready"
    assert given.after(early, *given.unlisted(NOW + lag + 1.1, USER)).services[ASR].state == "lost"


def test_nodes_are_asked_for_those_whom_only_listings_lack() -> None:
    *earlier, last = given.unlisted(NOW, USER)
    assert isinstance(last, ev.RoomListed)
    assert unlisted(UNWATCHED, last) == []  # it is early to believe it
    doubted = given.after(UNWATCHED, *earlier)
    assert unlisted(doubted, last) == ["sm-asr-1"]
    assert apply(doubted, replace(last, joining=("sm-asr-1",))).services[ASR].state == "ready"
    assert unlisted(given.after(WATCHED, *earlier), last) == []


def test_nodes_are_asked_for_a_service_whose_join_was_never_reported() -> None:
    signals = given.with_instance(given.SIGNALS, service_id="asr-service")
    session = given.after(given.a_session(signals), *given.created(), *given.invited(ASR), *given.accepted(ASR))
    said = given.after(session, given.signal("sm-asr-1", Signal.READY, START + 2))
    *earlier, last = given.unlisted(NOW)
    assert isinstance(last, ev.RoomListed)
    assert unlisted(given.after(said, *earlier), last) == ["sm-asr-1"]


def test_listings_count_again_when_the_manager_is_gone() -> None:
    doubted = given.after(WATCHED, *given.unlisted(NOW))
    alone = apply(doubted, ev.ManagerFailed(NOW + 1, given.MANAGER))
    assert alone.doubts == MISSES_MAX
    assert apply(alone, given.listed(NOW + 2)).state == "degraded"


@pytest.mark.parametrize(
    "shown",
    [
        given.listed(NOW + 5, ASR_HERE, USER),
        given.seen("sm-asr-1", "PA_asr", NOW + 5),
    ],
    ids=["listing", "webhook"],
)
def test_a_lost_service_that_is_shown_again_is_ready_without_another_signal(shown: Event) -> None:
    """It is the same participant: what it signaled before holds."""
    lost = given.after(UNWATCHED, *given.unlisted(NOW, USER))
    assert lost.services[ASR].state == "lost"
    back = apply(lost, shown)
    assert (back.state, back.services[ASR].state, back.services[ASR].ready_by) == ("active", "ready", "message")
    anew = apply(lost, given.seen("sm-asr-1", "PA_anew", NOW + 5))
    assert anew.services[ASR].state == "joined"


def test_a_leave_reported_by_a_webhook_is_checked_by_a_listing() -> None:
    listed = given.after(UNWATCHED, ev.ListingStarted(NOW - 1), given.listed(NOW - 1, ASR_HERE, USER))
    left = apply(listed, given.left("alice", "PA_user", NOW))
    assert left.state == "ready"
    assert listing_at(left) == pytest.approx(NOW + LISTING_LAG)
    assert apply(left, given.listed(NOW + 0.9, ASR_HERE, USER)).state == "ready"  # the listing lags behind
    checked = given.after(left, ev.ListingStarted(NOW + 1), given.listed(NOW + 1, ASR_HERE))
    assert listing_at(checked) > NOW + 2
    assert apply(left, given.listed(NOW + 1, ASR_HERE, USER)).state == "active"


LEAVES = pytest.mark.parametrize(
    ("who", "rest"), [(ASR_HERE, (MANAGER, USER)), (USER, (MANAGER, ASR_HERE)), (MANAGER, (ASR_HERE, USER))]
)
"""Of a service, of the user, of the manager."""


@LEAVES
def test_a_webhook_alone_ends_no_presence_that_the_manager_sees(who: ParticipantInfo, rest: Listed) -> None:
    """The room is listed at once, and again when a listing can't lag behind any more."""
    told = apply(WATCHED, given.left(who.identity, who.sid, NOW))
    assert (told.state, told.revision) == ("active", WATCHED.revision)
    assert (ListRoom() in plan(told, NOW).actions, plan(told, NOW + 60).actions) == (True, (ListRoom(),))
    shown = given.after(told, ev.ListingStarted(NOW), given.listed(NOW, who, *rest))
    assert listing_at(shown) == pytest.approx(NOW + LISTING_LAG)
    denied = given.after(shown, ev.ListingStarted(NOW + 1), given.listed(NOW + 1, who, *rest))
    assert listing_at(denied) > NOW + 2
    assert (denied.state, denied.presences) == ("active", WATCHED.presences)


@LEAVES
def test_a_webhook_and_a_listing_end_a_presence_that_the_manager_sees(who: ParticipantInfo, rest: Listed) -> None:
    """The manager learns of a leave two seconds later than both."""
    told = given.after(WATCHED, given.listed(NOW, *rest), given.left(who.identity, who.sid, NOW + 1))
    assert who.sid in [one.sid for one in told.presences]
    gone = given.after(told, ev.ListingStarted(NOW + 1.01), given.listed(NOW + 1.01, *rest))
    assert who.sid not in [one.sid for one in gone.presences]
    assert apply(gone, given.seen(who.identity, who.sid, NOW + 2)) is gone  # a late webhook


def test_a_leave_that_the_manager_confirms_needs_no_listing() -> None:
    told = apply(WATCHED, given.left("alice", "PA_user", NOW))
    confirmed = apply(told, replace(given.left("alice", "PA_user", NOW + 2), seen_by=given.MANAGER))
    assert (confirmed.state, confirmed.user_left_at) == ("ready", NOW + 2)


def test_a_webhook_counts_again_once_the_manager_is_gone() -> None:
    alone = given.after(WATCHED, given.left("alice", "PA_user", NOW), ev.ManagerFailed(NOW + 1, given.MANAGER))
    assert apply(alone, given.left("alice", "PA_user", NOW + 1)).state == "ready"
    assert apply(alone, given.listed(NOW + 1, ASR_HERE)).state == "ready"


def test_a_listing_does_not_bring_back_whom_the_manager_saw_leave() -> None:
    """An outdated listing may show it for long. Without a manager the listing is all there is."""
    leaves = [replace(given.left(one.identity, one.sid, NOW), seen_by=given.MANAGER) for one in (ASR_HERE, USER)]
    left = given.after(WATCHED, *leaves)
    listing = given.listed(NOW + 60, MANAGER, ASR_HERE, USER)
    assert (apply(left, listing).user_presence.here, apply(left, listing).services[ASR].state) == (False, "lost")
    alone = apply(left, ev.ManagerFailed(NOW + 1, given.MANAGER))
    assert apply(alone, listing).state == "active"


@pytest.mark.parametrize("session", [UNWATCHED, WATCHED], ids=["unwatched", "watched"])
@pytest.mark.parametrize("by", [None, given.MANAGER])
def test_a_service_that_joins_twice_is_not_lost_in_between(session: Session, by: str | None) -> None:
    """LiveKit puts out the earlier participant, and may report the later one's join seconds afterwards. A listing shows
    that it is there; what the earlier one signaled does not count for it."""
    replaced = apply(session, ev.ParticipantLeft(NOW, "sm-asr-1", "PA_asr", replaced=True, seen_by=by))
    assert (replaced.state, replaced.services[ASR].state) == ("active", "ready")
    assert listing_at(replaced) <= NOW + DOUBT_PAUSES[0]
    joining = apply(replaced, given.listed(NOW + 0.1, MANAGER, USER, joining=("sm-asr-1",)))
    assert joining.services[ASR].state == "ready"
    joined = apply(joining, given.seen("sm-asr-1", "PA_asr_2", NOW + 9))
    assert (joined.state, joined.services[ASR].state, joined.doubts) == ("degraded", "joined", 0)


@pytest.mark.parametrize("session", [UNWATCHED, WATCHED], ids=["unwatched", "watched"])
def test_a_service_put_out_by_one_that_is_not_there_either_is_lost(session: Session) -> None:
    replaced = apply(session, ev.ParticipantLeft(NOW, "sm-asr-1", "PA_asr", replaced=True))
    lost = given.after(replaced, *given.unlisted(NOW + 2, MANAGER, USER))
    assert (lost.state, lost.services[ASR].state) == ("degraded", "lost")


def test_a_manager_that_connects_anew_sees_everybody_again() -> None:
    """After a full reconnect the SDK reports that all have left, and then that they are there."""
    left = given.after(
        WATCHED, *(ev.ParticipantLeft(NOW, *who, seen_by=given.MANAGER) for who in (("alice", "PA_user"),))
    )
    assert left.state == "ready"
    assert apply(left, given.shown("alice", "PA_user", NOW)).state == "active"


def test_duplicate_entries_of_one_identity_leave_the_newest_participant() -> None:
    older, newer = replace(USER, joined_ms=1_000), ParticipantInfo("alice", "PA_newer", joined_ms=2_000)
    for listing in ((older, newer), (newer, older)):
        session = given.after(UNWATCHED, *(given.listed(NOW + n, ASR_HERE, *listing) for n in range(5)))
        assert (session.user_presence.sid, session.state) == ("PA_newer", "active")


def test_reports_of_an_earlier_manager_do_not_count_as_seen() -> None:
    other = apply(WATCHED, ev.ManagerFailed(NOW, given.MANAGER))
    shown = given.after(
        given.after(other, *given.unlisted(NOW + 5)), given.shown("alice", "PA_other", NOW + 6, by=given.MANAGER)
    )
    assert (shown.manager.is_connected, shown.user_presence.seen_by) == (False, None)


# --- the room ---------------------------------------------------------------------------------------


def test_one_answer_that_there_is_no_room_ends_nothing_and_is_repeated_at_once() -> None:
    missed = given.after(UNWATCHED, ev.ListingStarted(NOW), ev.RoomMissed(NOW, NOW))
    assert (missed.state, missed.listing_since, listing_at(missed)) == ("active", None, NOW + DOUBT_PAUSES[0])
    found = given.after(missed, given.listed(NOW + 0.1, ASR_HERE, USER), *given.room_missed(NOW + 9)[:-1])
    assert (found.state, found.room.misses) == ("active", 2)


def test_answers_of_one_moment_count_once() -> None:
    """Several queries are under way when LiveKit lacks a room."""
    missed = given.after(UNWATCHED, *(ev.RoomMissed(NOW + 2, NOW + n / 10) for n in range(10)))
    assert missed.room.misses == 1


def test_an_older_answer_that_there_is_no_room_is_ignored() -> None:
    listed = apply(UNWATCHED, given.listed(NOW, ASR_HERE, USER))
    assert apply(listed, ev.RoomMissed(NOW + 1, NOW - 1)) is listed


def test_a_room_that_stays_missing_is_closed() -> None:
    closed = given.after(UNWATCHED, *given.room_missed(NOW))
    assert closed.end is not None
    assert closed.end.reason is EndReason.ROOM_CLOSED


def test_a_room_with_a_connected_manager_is_not_closed_whatever_livekit_lists() -> None:
    missed = given.after(WATCHED, *(ev.RoomMissed(NOW + second, NOW + second) for second in range(100)))
    assert (missed.state, missed.doubts) == ("active", 0)


@pytest.mark.parametrize(
    "gone",
    [
        [ev.ManagerFailed(NOW + 10, given.MANAGER)],
        [given.left(given.MANAGER, "PA_manager", NOW), given.listed(NOW + 1), ev.ManagerDispatched(NOW + 20, 2, "m2")],
    ],
    ids=["it gave up", "it did not return"],
)
def test_answers_from_the_time_of_a_manager_do_not_count_once_it_is_gone(gone: list[Event]) -> None:
    missed = given.after(WATCHED, *(ev.RoomMissed(NOW + n / 10, NOW + n / 10) for n in range(-20, 0)))
    alone = given.after(missed, *gone)
    assert (alone.manager.in_charge, alone.room.misses) == (False, 0)
    assert not apply(alone, ev.RoomMissed(NOW + 30, NOW + 30, is_confirmed=True)).over
    assert given.after(alone, *given.room_missed(NOW + 32)).over


def test_lists_that_lack_a_room_end_no_session_until_its_node_was_asked() -> None:
    missed = given.after(UNWATCHED, *(ev.RoomMissed(NOW + second, NOW + second) for second in range(100)))
    assert (missed.state, missed.doubts > 1) == ("active", True)
    assert apply(missed, ev.RoomMissed(NOW + 100, NOW + 100, is_confirmed=True)).over


def test_rooms_missed_with_many_others_are_doubted_for_longer() -> None:
    def missed(seconds: float) -> Session:
        instants = (NOW, NOW + 1.0, NOW + seconds)
        answers = [ev.RoomMissed(at, at, is_doubted=True, is_confirmed=True) for at in instants]
        return given.after(UNWATCHED, *answers)

    assert not missed(ROOM_DOUBTED_FOR - 1).over
    assert missed(ROOM_DOUBTED_FOR).over


def test_a_webhook_that_the_room_is_closed_waits_for_the_managers_word() -> None:
    assert apply(UNWATCHED, ev.RoomClosed(NOW, "RM_1")).over
    told = given.after(WATCHED, ev.ListingStarted(NOW - 1), given.listed(NOW - 1, MANAGER, ASR_HERE, USER))
    told = apply(told, ev.RoomClosed(NOW, "RM_1"))
    assert not told.over
    assert ListRoom() in plan(told, NOW).actions
    assert apply(told, ev.ManagerFailed(NOW, given.MANAGER)).over
    denied = apply(told, given.listed(NOW + 1, MANAGER, ASR_HERE, USER))
    assert not apply(denied, ev.ManagerFailed(NOW + 2, given.MANAGER)).over


# --- a dead node --------------------------------------------------------------------------------------


def test_a_room_without_manager_whose_node_is_silent_is_closed() -> None:
    """LiveKit lists its participants as active for hours."""
    session = given.after(WATCHED, ev.ManagerFailed(NOW, given.MANAGER))
    assert listing_at(session) < NOW + LISTING_INTERVAL
    silent = ev.RoomListed(NOW + 1, NOW + 1, (MANAGER, ASR_HERE, USER), is_silent=True)
    for second in range(0, int(SILENCE_MAX), 5):
        session = apply(session, replace(silent, at=NOW + 1 + second, asked_at=NOW + 1 + second))
        assert deadline(session) == (NOW + 1 + SILENCE_MAX, EndReason.ROOM_CLOSED)
    assert plan(session, NOW + 1 + SILENCE_MAX).actions == (CheckDeadline(),)


@pytest.mark.parametrize(
    "life",
    [
        [given.listed(NOW + 30, ASR_HERE, USER)],
        [ev.ListingStarted(NOW + 30), ev.ListingFailed(NOW + 30, NOW + 30)],
        [ev.JobAccepted(NOW + 30, "sm-manager-2"), given.shown("sm-manager-2", "PA_m2", NOW + 31, by="sm-manager-2")],
    ],
    ids=["the node answers", "LiveKit is away", "a manager comes"],
)
def test_any_sign_of_life_keeps_the_room(life: list[Event]) -> None:
    session = given.after(WATCHED, ev.ManagerFailed(NOW, given.MANAGER))
    session = apply(session, ev.RoomListed(NOW + 1, NOW + 1, (ASR_HERE, USER), is_silent=True))
    session = given.after(session, ev.ManagerDispatched(NOW + 1, 2, "sm-manager-2"), *life)
    assert session.room.silent_since is None


# --- the clean-up ---------------------------------------------------------------------------------------


def test_a_room_that_cannot_be_deleted_is_tried_with_growing_pauses_and_forgotten() -> None:
    session, now, pauses = apply(UNWATCHED, ev.SessionClosed(NOW)), NOW, []
    while CleanUp() in plan(session, now).actions:
        session = given.after(session, ev.CleanUpStarted(now), ev.CleanUpFailed(now + 5))
        wake_at = plan(session, now + 5).wake_at
        pauses.append(wake_at - now - 5)
        now = wake_at
    assert plan(session, now).actions == (Purge(),)
    assert now == NOW + session.limits.retention
    assert pauses[:3] == [CLEAN_UP_PAUSE, 2 * CLEAN_UP_PAUSE, 4 * CLEAN_UP_PAUSE]
    assert max(pauses) <= CLEAN_UP_PAUSE_MAX


def test_a_session_without_retention_is_kept_for_some_tries_to_delete_its_room() -> None:
    session = replace(UNWATCHED, limits=replace(UNWATCHED.limits, retention=0.0))
    session = given.after(session, ev.SessionClosed(NOW), ev.CleanUpStarted(NOW), ev.CleanUpFailed(NOW + 1))
    assert Purge() not in plan(session, NOW + UNCLEANED_KEPT - 1).actions
    assert plan(session, NOW + UNCLEANED_KEPT).actions == (Purge(),)
