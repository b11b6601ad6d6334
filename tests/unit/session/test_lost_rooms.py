"""A room that LiveKit has lost is made again while no person is in it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from manager_agent.frozen import replace
from manager_agent.messages import RoomStatus
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.deadlines import deadline
from manager_agent.session.events import ParticipantInfo, Signal
from manager_agent.session.identities import Identities
from manager_agent.session.participant import Guest, Presence, StaleParticipant
from manager_agent.session.plan import CleanUp, CreateRoom, Remove, SendInvite, plan
from manager_agent.session.resumption import resumed
from manager_agent.session.retries import invite_started
from manager_agent.session.room import FOUND_PAUSE, REMAKE_PAUSE, REMAKES_MAX
from manager_agent.session.session import End, EndReason, Session, SessionState
from manager_agent.session.specification import Specification
from manager_agent.session.transitions import apply
from manager_agent.session.trespassers import SESSION_ATTRIBUTE
from tests.unit import sessions as given
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

LOST = START + 20
WAITING = given.after(
    given.a_session(given.JOINS, given.SIGNALS),
    *(*given.watched(), *given.invited(ASR, LLM), *given.accepted(ASR), given.seen("sm-asr-1", "PA_asr", START + 1)),
)
READY = given.after(
    WAITING, given.seen("sm-llm-1", "PA_llm", START + 1), given.signal("sm-llm-1", Signal.READY, START + 2)
)
ACTIVE = given.after(READY, given.seen("alice", "PA_user", START + 3))
IDENTITIES = Identities("secret")


def invited_again(session: Session, *, at: float) -> Session:
    """Every invite that is due is sent."""
    for action in plan(session, at).actions:
        assert isinstance(action, SendInvite), action
        event = invite_started(IDENTITIES, session, action.entry, attempt=action.attempt, tries=action.tries, at=at)
        session = apply(session, event)
    return session


def ready_again(session: Session, at: float) -> Session:
    asr, llm = (service.identity or "" for service in session.services)
    return given.after(
        session,
        *(given.seen(asr, "PA_asr2", at), given.seen(llm, "PA_llm2", at), given.signal(llm, Signal.READY, at)),
    )


def test_a_lost_room_of_a_waiting_session_is_made_again_within_its_own_deadline() -> None:
    lost = apply(WAITING, ev.RoomClosed(LOST, "RM_1"))
    assert plan(lost, LOST).actions == (CreateRoom(),)
    again = given.after(lost, ev.RoomRequested(LOST), ev.RoomCreated(LOST, "RM_2", "sm-manager-2"))
    assert (again.state, again.room.sid, again.room.remakes) == (SessionState.WAITING, "RM_2", 1)
    assert again.ready_deadline == WAITING.ready_deadline
    assert (again.manager.attempt, again.manager.identity, again.manager.in_charge) == (2, "sm-manager-2", False)
    assert apply(again, ev.DeadlinePassed(again.ready_deadline)).state is SessionState.FAILED


def test_the_services_of_a_lost_room_are_invited_again_under_other_ids_and_identities() -> None:
    again = given.after(READY, *given.room_remade(LOST))
    assert plan(again, LOST).actions == (SendInvite(ASR, 2, 1), SendInvite(LLM, 2, 1))
    assert {again.reason_of(service) for service in again.services} == {ServiceReason.ROOM_LOST}
    invited = invited_again(again, at=LOST)
    for before, after in zip(READY.services, invited.services, strict=True):
        assert (after.attempt, after.state, after.current.ref) == (2, ServiceState.INVITED, before.current.ref)
        assert after.past[-1].lost_with_room
        assert (after.identity, after.invite_id) != (before.identity, before.invite_id)
        assert invited.is_stale(before.identity or "")


def test_a_ready_session_waits_again_with_a_fresh_deadline_and_becomes_ready_again() -> None:
    again = given.after(READY, *given.room_remade(LOST))
    assert (again.state, again.ready_at, again.revision) == (SessionState.WAITING, None, READY.revision + 1)
    assert again.ready_deadline == LOST + again.limits.ready_timeout
    assert deadline(again) == (LOST + again.limits.ready_timeout, EndReason.READY_TIMEOUT)
    ready = ready_again(invited_again(again, at=LOST), LOST + 5)
    assert (ready.state, ready.ready_at) == (SessionState.READY, LOST + 5)
    assert deadline(ready) == (LOST + 5 + ready.limits.user_join_timeout, EndReason.USER_NEVER_JOINED)


def test_a_degraded_session_without_a_person_waits_again_and_one_with_a_person_ends() -> None:
    degraded = apply(READY, given.left("sm-llm-1", "PA_llm", LOST - 1))
    degraded = given.after(degraded, ev.ManagerFailed(LOST - 1, given.MANAGER))
    again = given.after(degraded, *given.room_remade(LOST))
    assert (again.state, again.ready_deadline) == (SessionState.WAITING, LOST + again.limits.ready_timeout)
    occupied = given.after(degraded, given.seen("alice", "PA_user", LOST - 1), ev.RoomClosed(LOST, "RM_1"))
    assert occupied.end is not None
    assert occupied.end.reason is EndReason.ROOM_CLOSED


def test_an_active_session_ends_with_its_room() -> None:
    alone = apply(ACTIVE, ev.ManagerFailed(LOST, given.MANAGER))
    for ended in (apply(alone, ev.RoomClosed(LOST, "RM_1")), given.after(alone, *given.room_missed(LOST + 2))):
        assert ended.end is not None
        assert ended.end.reason is EndReason.ROOM_CLOSED


def test_a_room_that_was_made_again_is_empty() -> None:
    early = apply(WAITING, given.seen("alice", "PA_user", START + 2))
    assert early.someone_here
    again = given.after(early, *given.room_remade(LOST))
    assert (again.state, again.someone_here, again.room.remakes) == (SessionState.WAITING, False, 1)


def test_a_manager_without_a_job_does_not_come_into_a_room_that_was_made_again() -> None:
    idle = given.after(given.a_session(given.JOINS), *given.created())
    assert not given.after(idle, *given.room_remade(LOST)).stale_participants
    assert given.after(READY, *given.room_remade(LOST)).is_stale(given.MANAGER)


def test_an_answer_without_the_room_ends_a_listing_and_its_failures() -> None:
    failed = given.after(READY, ev.ListingStarted(LOST), ev.ListingFailed(LOST + 1, asked_at=LOST))
    assert failed.listing_failures == 1
    missed = given.after(failed, ev.ListingStarted(LOST + 2), ev.RoomMissed(LOST + 3, LOST + 2))
    assert (missed.listing_since, missed.listing_failures, missed.listed_at) == (None, 0, LOST + 3)
    assert missed.room.misses == 1
    listed = given.after(READY, ev.ListingStarted(LOST), given.listed(LOST + 1, asked_at=LOST))
    assert apply(listed, ev.RoomMissed(LOST + 2, LOST)).room.misses == 0, "it is no newer than the listing"


def test_a_plain_room_is_ready_again_at_once_with_the_full_time_for_its_user() -> None:
    plain = given.after(given.a_session(), *given.created())
    again = given.after(plain, *given.room_remade(LOST))
    assert (plain.state, again.state, again.ready_at) == (SessionState.READY, SessionState.READY, LOST)


def test_a_room_that_livekit_still_has_was_not_lost() -> None:
    """It is missed by lists, and not asked for again before a pause."""
    missed = given.after(READY, *given.room_missed(LOST))
    assert plan(missed, LOST).actions == (CreateRoom(),)
    found = given.after(missed, ev.RoomRequested(LOST), ev.RoomCreated(LOST, "RM_1", "sm-manager-2"))
    assert (found.state, found.services, found.manager) == (READY.state, READY.services, READY.manager)
    assert found.room.remakes == 0
    again = given.after(found, *given.room_missed(LOST + FOUND_PAUSE - 1))
    assert CreateRoom() not in plan(again, LOST + FOUND_PAUSE - 1).actions
    assert CreateRoom() in plan(given.after(again, *given.room_missed(LOST + 9)), LOST + 9).actions


def test_a_room_is_missed_neither_longer_with_many_others_nor_with_a_connected_manager() -> None:
    answers = (0.0, 0.5, 1.1)
    missed = given.after(READY, *(ev.RoomMissed(LOST + at, LOST + at, is_doubted=True) for at in answers))
    assert READY.manager.is_connected
    assert plan(missed, LOST + 2).actions == (CreateRoom(),)


def test_late_reports_about_the_lost_room_change_nothing() -> None:
    again = given.after(READY, *given.room_remade(LOST))
    late: list[ev.Event] = [
        ev.RoomClosed(LOST + 1, "RM_1"),
        ev.RoomMissed(LOST + 1, LOST - 1),
        given.listed(LOST + 1, ParticipantInfo("sm-asr-1", "PA_asr"), asked_at=LOST - 1),
        given.seen("sm-asr-1", "PA_asr", LOST + 1),
        given.left("sm-asr-1", "PA_asr", LOST + 1),
        given.signal("sm-llm-1", Signal.READY, LOST + 1),
        ev.InviteAccepted(LOST + 1, ASR, 1, 1),
        ev.ManagerFailed(LOST + 1, given.MANAGER),
        ev.JobAccepted(LOST + 1, given.MANAGER),
        ev.ListingStarted(LOST - 1),
    ]
    for event in late:
        assert apply(again, event) is again, event


def test_an_invite_that_was_under_way_when_the_room_was_lost_is_followed_by_another() -> None:
    under_way = given.after(given.a_session(given.JOINS), *given.created(), *given.invited(ASR))
    again = given.after(under_way, *given.room_remade(LOST))
    assert plan(again, LOST).actions == (SendInvite(ASR, 2, 1),)


def test_none_of_those_in_the_lost_room_is_in_the_next_one() -> None:
    other_session = ParticipantInfo("mallory", "PA_mallory", attributes={SESSION_ATTRIBUTE: "s0"})
    replaced = ev.InviteStarted(START + 3, ASR, 2, 1, "sm-asr-2", "inv_0b")
    session = given.after(
        replace(WAITING, has_guests=True),
        *(
            ev.TokenGiven(START + 2, "bob"),
            given.seen("bob", "PA_bob", START + 2),
            given.left("bob", "PA_bob", START + 3),
        ),
        *(ev.ParticipantSeen(START + 2, other_session), replaced),
        *(ev.ListingStarted(START + 4), ev.ListingFailed(START + 4, START + 4), ev.ListingStarted(START + 5)),
    )
    again = given.after(session, *given.room_remade(LOST))
    assert again.room.sid == "RM_2"
    assert again.guests == (Guest("bob", Presence(gone=("PA_bob",))),)
    assert again.trespassers == ()
    assert (again.listing_since, again.listing_failures, again.listed_at, again.listed_as_of) == (None, 0, None, LOST)
    stale = {one.identity: one for one in again.stale_participants}
    assert stale["sm-asr-1"] == StaleParticipant(
        "sm-asr-1", Presence(gone=("PA_asr",)), service_id="asr-service", attempt=1
    )
    assert given.MANAGER in stale, "it may reconnect into the new room"


def test_the_attempts_of_the_lost_room_are_over_from_then_on() -> None:
    """Of each, what it was is kept: it had joined, or not."""
    again = given.after(WAITING, *given.room_remade(LOST))
    joined, invited = (service.current for service in again.services)
    was_joined, was_invited = (service.current for service in WAITING.services)
    lost: dict[str, Any] = {"lost_with_room": True, "in_flight": False, "ready_by": None}
    timeline = replace(was_joined.timeline, left=LOST)
    assert joined == replace(was_joined, **lost, presence=Presence(gone=("PA_asr",)), timeline=timeline)
    assert invited == replace(was_invited, **lost)
    interrupted = replace(WAITING.services[LLM], current=replace(was_invited, is_interrupted=True))
    doubted = replace(WAITING, services=(WAITING.services[ASR], interrupted))
    assert not given.after(doubted, *given.room_remade(LOST)).services[LLM].current.is_interrupted


def test_a_person_who_joined_the_lost_room_in_its_last_moment_ends_the_session() -> None:
    """Another room can't take its place any more. It is deleted."""
    asked = given.after(READY, *given.room_requested_again(LOST), given.seen("alice", "PA_user", LOST + 1))
    assert not asked.may_be_remade
    over = apply(asked, ev.RoomCreated(LOST + 2, "RM_2", "sm-manager-2"))
    assert over.end == End(EndReason.ROOM_CLOSED, LOST + 2)
    assert over.room == asked.room.made_again("RM_2", LOST + 2)


def test_a_service_that_had_failed_before_keeps_its_failure_and_is_not_there() -> None:
    failed = apply(WAITING, given.signal("sm-asr-1", Signal.FAILED, LOST))
    again = given.after(failed, *given.room_remade(LOST))
    before = failed.services[ASR].current
    assert again.services[ASR].current == replace(before, presence=before.presence.void())


def test_a_service_that_had_failed_before_is_replaced_as_any_other() -> None:
    failed = apply(WAITING, given.signal("sm-asr-1", Signal.FAILED, LOST))
    again = given.after(failed, *given.room_remade(LOST))
    assert again.services[ASR].state is ServiceState.FAILED
    assert SendInvite(ASR, 2, 1) not in plan(again, LOST).actions


def test_livekit_is_asked_again_with_growing_pauses_until_the_deadline() -> None:
    session, at = apply(READY, ev.RoomClosed(LOST, "RM_1")), LOST
    pauses = []
    while (due := session.room.remake_at) < LOST + 60:
        pauses.append(due - at)
        session, at = given.after(session, ev.RoomRequested(due), ev.RoomRefused(due)), due
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0]
    ends_at, reason = deadline(session) or (math.inf, None)
    assert (ends_at, reason) == (START + 2 + session.limits.user_join_timeout, EndReason.USER_NEVER_JOINED)


def test_a_room_is_made_again_a_limited_number_of_times_with_growing_pauses() -> None:
    session, at, pauses = WAITING, LOST, []
    for number in range(REMAKES_MAX):
        session = apply(session, ev.RoomClosed(at, session.room.sid))
        pauses.append(session.room.remake_at - at)
        at = session.room.remake_at
        made = ev.RoomCreated(at, f"RM_{number + 2}", f"sm-manager-{number + 2}")
        session = given.after(session, ev.RoomRequested(at), made)
    assert pauses == [0.0, *(REMAKE_PAUSE * 2**n for n in range(REMAKES_MAX - 1))]
    assert session.manager.attempt == REMAKES_MAX + 1
    ended = apply(session, ev.RoomClosed(at + 1, session.room.sid))
    assert ended.end is not None
    assert ended.end.reason is EndReason.ROOM_CLOSED


def test_a_name_that_another_room_has_by_now_ends_the_session_and_leaves_that_room_alone() -> None:
    ended = given.after(READY, *given.room_requested_again(LOST), ev.RoomRefused(LOST, taken=True))
    assert ended.end is not None
    assert (ended.end.reason, ended.end.at, ended.room.taken) == (EndReason.ROOM_CLOSED, LOST, True)
    assert not ended.room.in_flight
    closed = given.after(READY, *given.room_requested_again(LOST), ev.SessionClosed(LOST))
    assert apply(closed, ev.RoomRefused(LOST + 1, taken=True)).end == closed.end


def test_an_end_while_the_room_is_made_again_is_final_and_deletes_the_new_room() -> None:
    ended = given.after(READY, *given.room_requested_again(LOST), ev.SessionClosed(LOST))
    assert plan(ended, LOST + 1).actions == ()
    made = apply(ended, ev.RoomCreated(LOST + 1, "RM_2", "sm-manager-2"))
    assert (made.end, made.state, made.room.only_sid) == (ended.end, SessionState.ENDED, "RM_2")
    assert plan(made, LOST + 1).actions == (CleanUp(),)
    lost_answer = apply(ended, ev.RoomRefused(LOST + 1))
    assert lost_answer.room.only_sid == "", "a room that names the session is deleted, whatever its sid"


def test_a_waiting_session_is_not_given_up_for_want_of_a_manager_in_a_room_made_again() -> None:
    """The agent may need seconds to register with a LiveKit that has just come back."""
    session = given.after(WAITING, *given.room_remade(START + 1))
    for number in range(3, 6):
        due = session.manager.next_dispatch_at
        session = apply(session, ev.ManagerDispatched(due, number, f"sm-manager-{number}"))
    assert session.manager.fruitless > 3
    assert deadline(session) == (session.ready_deadline, EndReason.READY_TIMEOUT)


def test_another_process_continues_a_session_whose_room_was_made_again() -> None:
    again = given.after(READY, *given.room_remade(LOST))
    metadata = RoomStatus.read(RoomStatus.of(again, "d").model_dump_json())
    assert metadata is not None
    assert metadata.progress is not None
    next_one = resumed(
        Specification.read(Specification.of(again).text()).session(),
        metadata.progress,
        revision=metadata.revision,
        room_sid="RM_2",
        manager_attempts=2,
        identities=IDENTITIES,
        now=LOST + 1,
        dispatch_at=LOST + 1,
    )
    assert (next_one.state, next_one.ready_deadline) == (SessionState.WAITING, again.ready_deadline)
    assert (next_one.room.remakes, next_one.room.previous_lost_at) == (1, LOST)
    assert {SendInvite(ASR, 2, 1), SendInvite(LLM, 2, 1)} <= set(plan(next_one, LOST + 1).actions)


def test_the_manager_of_the_lost_room_is_removed_if_it_reconnects_into_the_new_one() -> None:
    again = given.after(WAITING, *given.room_remade(LOST), given.seen(given.MANAGER, "PA_manager2", LOST + 1))
    assert Remove(given.MANAGER) in plan(again, LOST + 1).actions


def test_a_lost_room_is_said_to_be_lost_since_it_was_first_missed() -> None:
    assert given.after(WAITING, *given.room_remade(LOST)).room.previous_lost_at == LOST
    unmissed = given.after(given.a_session(), *given.created()).room
    assert unmissed.made_again("RM_2", LOST).previous_lost_at == LOST
    assert unmissed.lost(LOST).made_again("RM_2", LOST + 5).previous_lost_at == LOST
