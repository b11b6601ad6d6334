"""What becomes of actions under way when the process that began them was cut off."""

from __future__ import annotations

import math

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo, Refusal
from manager_agent.session.interruption import DEAD_STAY, RELIEVED_STAY, relieves_another
from manager_agent.session.plan import (
    RELIEF_NOTICED,
    CleanUp,
    CreateRoom,
    DispatchManager,
    ListRoom,
    Remove,
    SendInvite,
    plan,
)
from manager_agent.session.session import End, EndReason, Session
from manager_agent.session.trespassers import SESSION_ATTRIBUTE
from tests.unit import sessions as given
from tests.unit.sessions import ASR, BOT, START

NOW = START + 5
MANAGER_2 = "sm-manager-2"

_ready = given.after(
    given.a_session(given.JOINS),
    *(*given.watched(), *given.invited(ASR), *given.accepted(ASR), given.shown("sm-asr-1", "PA_asr", START + 1)),
)


def taken_over(session: Session, at: float = NOW, manager_at: float = NOW) -> Session:
    return given.after(session, ev.Interrupted(at, manager_at))


def due(session: Session, at: float = NOW) -> list[object]:
    return list(plan(session, at).actions)


def test_a_session_without_anything_under_way_keeps_its_state() -> None:
    session = taken_over(_ready)
    assert session.state is _ready.state
    assert session.services == _ready.services


def test_the_manager_of_another_process_is_replaced_when_it_is_time() -> None:
    session = taken_over(_ready, manager_at=NOW + 60)
    assert DispatchManager(2) not in due(session, NOW + 59)
    assert DispatchManager(2) in due(session, NOW + 60)
    assert DispatchManager(2) in due(given.after(session, ev.ManagerDue(NOW + 1)), NOW + 1)


def test_the_relieved_manager_stays_until_the_next_one_is_there() -> None:
    """It is removed only if it does not leave by itself."""
    session = given.after(taken_over(_ready), ev.ManagerDispatched(NOW, 2, MANAGER_2))
    remove = Remove(given.MANAGER)
    assert remove not in due(session, NOW + RELIEVED_STAY - 0.1)
    assert remove in due(session, NOW + RELIEVED_STAY)


def test_the_relieved_manager_is_removed_if_it_stays_beside_the_next_one() -> None:
    """Its process was frozen meanwhile."""
    session = given.after(taken_over(_ready), ev.ManagerDispatched(NOW, 2, MANAGER_2), ev.JobAccepted(NOW, MANAGER_2))
    session = given.after(session, given.shown(MANAGER_2, "PA_m2", NOW + 2, by=MANAGER_2))
    remove = Remove(given.MANAGER)
    assert remove not in due(session, NOW + 2 + RELIEF_NOTICED - 0.1)
    assert remove in due(session, NOW + 2 + RELIEF_NOTICED)


def test_the_manager_of_a_dead_process_is_removed_when_the_next_one_is_there() -> None:
    orphaned = given.after(_ready, ev.Interrupted(NOW, NOW, is_from_dead=True))
    session = given.after(orphaned, ev.ManagerDispatched(NOW, 2, MANAGER_2))
    remove = Remove(given.MANAGER)
    assert remove not in due(session, NOW + DEAD_STAY - 0.1)
    assert remove in due(session, NOW + DEAD_STAY)


def test_only_the_first_manager_after_that_of_another_process_relieves_it() -> None:
    session = given.after(taken_over(_ready), ev.ManagerDispatched(NOW, 2, MANAGER_2))
    assert relieves_another(session)
    assert not relieves_another(given.after(session, ev.ManagerDispatched(NOW + 60, 3, "sm-manager-3")))


def test_a_manager_that_is_dispatched_again_by_the_same_process_relieves_no_other() -> None:
    assert not relieves_another(_ready)
    assert not relieves_another(given.after(_ready, ev.ManagerDispatched(NOW + 60, 2, MANAGER_2)))


def test_the_relieved_manager_does_not_take_charge_again() -> None:
    session = taken_over(_ready)
    assert given.after(session, ev.JobAccepted(NOW + 1, given.MANAGER)) is session
    assert given.after(session, ev.ManagerFailed(NOW + 1, given.MANAGER)) is session


def test_its_own_manager_stays_in_charge_if_only_records_may_be_lost() -> None:
    session = given.after(_ready, ev.Interrupted(NOW))
    assert session is _ready


def test_a_room_that_was_being_made_is_asked_for_again_with_the_next_manager() -> None:
    session = taken_over(given.after(given.a_session(given.JOINS), *given.requested()), manager_at=NOW + 60)
    assert due(session) == [CreateRoom()]
    again = given.after(session, ev.RoomRequested(NOW), ev.ManagerDispatched(NOW, 2, MANAGER_2))
    assert (again.manager.attempt, again.manager.identity) == (2, MANAGER_2)
    assert given.after(again, ev.RoomCreated(NOW + 1, "RM_1")).room.sid == "RM_1"


def test_a_room_that_was_being_made_again_is_asked_for_again() -> None:
    session = taken_over(given.after(_ready, *given.room_requested_again(START + 4)))
    assert session.room.may_be_replaced
    assert CreateRoom() in due(session, NOW + 30)


def test_a_room_that_was_missed_beside_another_process_manager_is_missed_anew() -> None:
    missed = given.after(_ready, ev.RoomMissed(START + 3, START + 3))
    assert missed.room.misses == 1
    assert (taken_over(missed).room.misses, taken_over(missed).room.missed_since) == (0, math.inf)


def test_an_invite_that_was_under_way_is_sent_again() -> None:
    invited = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR))
    session = taken_over(invited)
    assert SendInvite(ASR, 1, 2) in due(session)
    attempt = invited.services[ASR].current
    assert session.services[ASR].current == replace(attempt, in_flight=False, is_interrupted=True)


def test_a_dispatch_that_livekit_has_is_not_sent_again() -> None:
    """An agent that is dispatched twice would join twice."""
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS, given.AGENT), *given.managed(), *given.invited(BOT)
    )
    known = given.after(session, ev.Interrupted(NOW, NOW, frozenset({f"inv_{BOT}"})))
    assert known.services[BOT].current.timeline.accepted == NOW
    assert not any(isinstance(action, SendInvite) and action.entry == BOT for action in due(known))


def test_a_dispatch_that_failed_and_was_repeated_is_no_longer_refused_if_livekit_has_it() -> None:
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS, given.AGENT),
        *given.managed(),
        *given.invited(BOT),
        ev.InviteRefused(START + 1, BOT, 1, 1, Refusal.UNREACHABLE, detail="timeout"),
        ev.InviteStarted(START + 2, BOT, 1, 2, None, f"inv_{BOT}"),
    )
    before = session.services[BOT].current
    known = given.after(session, ev.Interrupted(NOW, NOW, frozenset({before.invite_id}))).services[BOT].current
    timeline = replace(before.timeline, accepted=NOW)
    assert known == replace(before, in_flight=False, refusal=None, refusal_detail=None, timeline=timeline)


def test_an_invite_that_was_sent_again_to_a_late_service_counts_as_accepted() -> None:
    accepted = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), *given.accepted(ASR))
    session = taken_over(given.after(accepted, ev.InviteStarted(START + 4, ASR, 1, 2, "sm-asr-1", "inv_0")))
    attempt = session.services[ASR].current
    assert not attempt.is_under_way
    assert attempt.overdue_since == START


def test_a_listing_that_was_under_way_is_made_again() -> None:
    session = taken_over(given.after(_ready, ev.ListingStarted(START + 4)))
    assert session.listing_since is None
    assert ListRoom() in due(session, NOW + 30)


def test_a_removal_that_was_under_way_is_made_again() -> None:
    stale = given.after(
        _ready,
        *(ev.InviteStarted(START + 2, ASR, 2, 1, "sm-asr-2", "inv_0b"), ev.InviteAccepted(START + 3, ASR, 2, 1)),
        ev.RemovalStarted(START + 4, "sm-asr-1"),
    )
    assert Remove("sm-asr-1") not in due(stale, NOW + 2)
    again = taken_over(stale)
    assert Remove("sm-asr-1") in due(again, NOW + 2)
    (removed, *_), (was, *_) = again.stale_participants, stale.stale_participants
    assert removed == replace(was, removing=None, removals=was.removals.ended(NOW))
    assert taken_over(again, at=NOW + 1).stale_participants[0] is removed


def test_a_removal_of_a_trespasser_that_was_under_way_is_made_again() -> None:
    mallory, eve = (
        ParticipantInfo(name, f"PA_{name}", attributes={SESSION_ATTRIBUTE: "s0"}) for name in ("mallory", "eve")
    )
    session = given.after(
        _ready,
        *(ev.ParticipantSeen(START + 2, mallory), ev.ParticipantSeen(START + 2, eve)),
        ev.RemovalStarted(START + 3, "mallory", trespasser="PA_mallory"),
    )
    (was, other), (now, same) = session.trespassers, taken_over(session).trespassers
    assert was.removing
    assert now == replace(was, removing=False, removals=was.removals.ended(NOW))
    assert same is other


def test_a_clean_up_that_was_under_way_begins_again() -> None:
    over = given.after(_ready, ev.SessionClosed(START + 3), ev.CleanUpStarted(START + 4))
    assert CleanUp() not in due(over)
    session = taken_over(over)
    assert CleanUp() in due(session)
    assert session.end == End(EndReason.CLOSED, START + 3)
    assert session.manager is over.manager


def test_a_room_that_was_being_made_as_the_session_ended_is_deleted() -> None:
    """LiveKit may have made it."""
    over = given.after(given.a_session(given.JOINS), *given.requested(), ev.SessionClosed(START + 1))
    assert CleanUp() not in due(over)
    assert CleanUp() in due(taken_over(over))
    assert taken_over(over).room.refused


def test_a_session_that_is_cleaned_up_is_left_as_it_is() -> None:
    over = given.after(_ready, ev.SessionClosed(START + 3), ev.CleanUpStarted(START + 4), ev.CleanedUp(START + 4))
    assert taken_over(over) is over
