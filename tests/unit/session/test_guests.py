"""Guests: those to whom the token endpoint gave a token keep the session, and who gets a token now finds it alive."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.deadlines import deadline, join_deadline
from manager_agent.session.events import Event
from manager_agent.session.guests import GUESTS_MAX
from manager_agent.session.session import EndReason, Limits, Session, SessionState
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

LIMITS = Limits(user_join_timeout=30, user_rejoin_timeout=20)


def opened(*events: Event, has_guests: bool = True) -> Session:
    session = replace(given.a_session(), has_guests=has_guests, limits=LIMITS)
    return given.after(session, *given.created(), *events)


ALICE_CAME = given.seen("alice", "PA_alice", START + 1)
ALICE_LEFT = given.left("alice", "PA_alice", START + 10)
BOB_ASKED = ev.TokenGiven(START + 9, "bob")
BOB_CAME = given.seen("bob", "PA_bob", START + 11)


def test_a_reloaded_page_with_another_identity_keeps_the_session() -> None:
    reloaded = opened(ALICE_CAME, BOB_ASKED, ALICE_LEFT, BOB_CAME)
    assert reloaded.state is SessionState.ACTIVE
    assert deadline(reloaded) == (START + LIMITS.max_duration, EndReason.EXPIRED)
    gone = given.after(reloaded, given.left("bob", "PA_bob", START + 50))
    assert (gone.state, deadline(gone)) == (SessionState.READY, (START + 70, EndReason.USER_LEFT))


def test_a_guest_that_only_rings_is_not_in_the_room() -> None:
    ringing, talking = (ev.ParticipantInfo("bob", "PA_bob", is_ringing=rings) for rings in (True, False))
    rung = opened(BOB_ASKED, ev.ParticipantSeen(START + 11, ringing), given.listed(START + 12, ringing))
    assert rung.state is SessionState.READY
    assert given.after(rung, ev.ParticipantSeen(START + 13, talking)).state is SessionState.ACTIVE


def test_the_session_lasts_until_the_last_guest_has_left() -> None:
    both = opened(ALICE_CAME, BOB_ASKED, BOB_CAME)
    assert given.after(both, given.left("bob", "PA_bob", START + 12)).state is SessionState.ACTIVE
    assert given.after(both, given.left("alice", "PA_alice", START + 12)).state is SessionState.ACTIVE


def test_a_guest_that_listings_do_not_show_has_left() -> None:
    missed = opened(BOB_ASKED, BOB_CAME, given.listed(START + 12))
    assert (missed.state, missed.user_left_at) == (SessionState.ACTIVE, None)
    session = opened(BOB_ASKED, BOB_CAME, *given.unlisted(START + 20))
    assert (session.state, session.user_left_at) == (SessionState.READY, START + 20)


def test_only_the_user_keeps_a_session_opened_by_its_own_request() -> None:
    session = opened(ALICE_CAME, BOB_ASKED, ALICE_LEFT, BOB_CAME, has_guests=False)
    assert (session.state, session.guests) == (SessionState.READY, ())


def test_a_token_extends_the_time_to_join_and_to_return() -> None:
    assert deadline(opened(ev.TokenGiven(START + 25, "alice"))) == (START + 55, EndReason.USER_NEVER_JOINED)
    returning = opened(ALICE_CAME, ALICE_LEFT, ev.TokenGiven(START + 29, "bob"))
    assert deadline(returning) == (START + 49, EndReason.USER_LEFT)


def test_a_join_timeout_shorter_than_the_rejoin_timeout_counts() -> None:
    brief = replace(opened(), limits=replace(LIMITS, user_join_timeout=5))
    assert deadline(brief) == (START + 5, EndReason.USER_NEVER_JOINED)
    again = replace(brief, ready_at=START, state_since=START + 60)
    assert deadline(again) == (START + 80, EndReason.USER_NEVER_JOINED), "the user could not join while it was degraded"


def test_the_join_deadline_is_the_instant_that_the_session_lasts_to_at_least() -> None:
    assert join_deadline(opened(), START + 5) == START + 30
    assert join_deadline(opened(ALICE_CAME), START + 5) == START + 25
    assert join_deadline(opened(ALICE_CAME, ALICE_LEFT), START + 15) == START + 30
    brief = replace(opened(ALICE_CAME), limits=replace(LIMITS, max_duration=10))
    assert join_deadline(brief, START + 5) == START + 10


def test_each_guest_is_one_however_often_it_gets_a_token_and_the_user_is_none() -> None:
    session = opened(BOB_ASKED, BOB_CAME, ev.TokenGiven(START + 12, "bob"), ev.TokenGiven(START + 12, "alice"))
    assert [(guest.identity, guest.presence.here) for guest in session.guests] == [("bob", True)]


def test_a_guest_that_is_seen_again_changes_nothing() -> None:
    session = opened(BOB_ASKED, BOB_CAME)
    assert given.after(session, BOB_CAME) is session


def test_when_the_last_guest_left_is_remembered_and_a_late_report_is_not() -> None:
    gone = opened(BOB_ASKED, BOB_CAME, given.left("bob", "PA_bob", START + 12))
    assert (gone.user_left_at, gone.guests[0].presence.here) == (START + 12, False)
    assert given.after(gone, given.left("bob", "PA_bob", START + 13)).user_left_at == START + 12


def test_no_more_guests_are_remembered_than_the_latest() -> None:
    session = opened()
    for number in range(GUESTS_MAX + 2):
        name = f"guest-{number}"
        session = given.after(session, ev.TokenGiven(START + 12, name), given.seen(name, f"PA_{number}", START + 12))
    assert [guest.identity for guest in session.guests] == [f"guest-{number}" for number in range(2, GUESTS_MAX + 2)]


def test_guests_who_are_not_in_the_room_are_forgotten_first() -> None:
    session = opened(BOB_ASKED, BOB_CAME)
    for number in range(GUESTS_MAX * 2):
        session = given.after(session, ev.TokenGiven(START + 12, f"guest-{number}"))
    assert len(session.guests) <= GUESTS_MAX
    assert session.state is SessionState.ACTIVE
