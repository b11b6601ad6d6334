"""The timeline of a session: its steps, every attempt, and what is awaited until when."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt, ServiceReason, ServiceState
from manager_agent.session.deadlines import deadline
from manager_agent.session.events import Chosen, Evidence, ReadyOn, Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.session.timeline import (
    Awaited,
    Late,
    StepName,
    TimelineAttempt,
    TimelineStep,
    attempts,
    steps,
)
from tests.unit import sessions as given
from tests.unit.session.test_histories import a_history, by_chance
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

OTHER = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)


def replaced(at: float, attempt: int = 2) -> ev.InviteStarted:
    return ev.InviteStarted(at, ASR, attempt, 1, f"sm-asr-{attempt}", f"inv_0_{attempt}", instead=OTHER)


def present(session: Session, entry: int = ASR) -> TimelineAttempt:
    [attempt] = [one for one in attempts(session) if one.entry == entry and one.until is None]
    return attempt


def awaited(*events: ev.Event, service: RequiredService = given.SIGNALS) -> Late | None:
    """What the only service of a session is awaited for."""
    return present(given.after(given.a_session(service), *given.managed(), *events)).late


# --- steps ------------------------------------------------------------------------------------------


def test_the_timeline_lists_known_steps_in_order_of_time() -> None:
    session = given.a_session(given.JOINS)
    assert steps(session) == [TimelineStep(StepName.REQUESTED, START)]
    session = given.after(
        session,
        *given.created(START + 1),
        *given.invited(ASR, at=START + 1),
        ev.JobAccepted(START + 1.5, given.MANAGER),
        given.seen("sm-asr-1", "PA_1", START + 2),
        given.seen(given.MANAGER, "PA_manager", START + 3),
        given.seen("alice", "PA_alice", START + 4),
        given.left("alice", "PA_alice", START + 5),
        ev.SessionClosed(START + 6),
    )
    assert [(step.name, step.at - START) for step in steps(session)] == [
        ("requested", 0), ("room_requested", 1), ("room_created", 1), ("manager_accepted", 1.5), ("ready", 2),
        ("manager_joined", 3), ("user_joined", 4), ("user_left", 5), ("ended", 6),
    ]  # fmt: skip


def test_a_user_that_comes_back_joins_twice_in_the_timeline() -> None:
    came = [*given.managed(), given.seen("alice", "PA_1", START + 1), given.left("alice", "PA_1", START + 2)]
    session = given.after(given.a_session(), *came, given.seen("alice", "PA_2", START + 3))
    assert [(step.name, step.at - START) for step in steps(session)][-3:] == [
        ("user_joined", 1), ("user_left", 2), ("user_joined", 3),
    ]  # fmt: skip


def test_a_user_that_stays_has_joined_once_in_the_timeline() -> None:
    session = given.after(given.a_session(), *given.managed(), given.seen("alice", "PA_1", START + 1))
    assert [step.at - START for step in steps(session) if step.name is StepName.USER_JOINED] == [1]


# --- attempts ---------------------------------------------------------------------------------------


def test_a_service_not_invited_yet_has_an_attempt_without_a_number() -> None:
    attempt = present(given.a_session(given.JOINS))
    current = attempt.attempt
    assert (current.number, current.state, current.tries, attempt.late) == (0, ServiceState.PENDING, 0, None)


def test_a_replaced_attempt_precedes_the_next_one_with_its_reason() -> None:
    refused = ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.UNREACHABLE, final=True)
    session = given.after(
        given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), refused, replaced(START + 2)
    )
    first, second = attempts(session)
    assert (first.entry, second.entry) == (ASR, ASR)
    assert (first.attempt.number, first.attempt.instance.service_id, first.until) == (1, "asr-service", START + 2)
    assert (first.attempt.state, first.reason, first.late) == (ServiceState.FAILED, ServiceReason.UNREACHABLE, None)
    assert (second.attempt.number, second.attempt.instance.service_id, second.until) == (2, "asr-2", None)
    assert second.late == Late(Awaited.ACCEPT, START + 2, START + 30)


def test_all_attempts_say_whether_their_service_is_optional() -> None:
    refused = ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.UNREACHABLE, final=True)
    steps = (*given.managed(), *given.invited(ASR), refused, replaced(START + 2))
    for is_optional, service in ((False, given.JOINS), (True, given.made_optional(given.JOINS))):
        told = attempts(given.after(given.a_session(service), *steps))
        assert [attempt.optional for attempt in told] == [is_optional] * 2


def test_a_lost_attempt_shows_when_it_was_ready_and_when_it_left() -> None:
    came = [*given.invited(ASR), *given.accepted(ASR), given.seen("sm-asr-1", "PA_1", START + 1)]
    session = given.after(given.a_session(given.JOINS), *given.managed(), *came)
    assert (present(session).ready_by, present(session).late) == (Evidence.JOIN, None)
    session = given.after(session, given.left("sm-asr-1", "PA_1", START + 2), replaced(START + 3))
    first, _ = attempts(session)
    assert (first.attempt.state, first.reason, first.ready_by) == (ServiceState.LOST, ServiceReason.LEFT, None)
    assert (first.attempt.timeline.ready, first.attempt.timeline.left) == (START + 1, START + 2)


def test_an_attempt_that_was_replaced_is_ready_by_nothing() -> None:
    ready = Attempt(OTHER, 1, ready_by=Evidence.JOIN)
    shown = TimelineAttempt(ASR, False, ready, reason=None, until=None, late=None)
    assert shown.ready_by is Evidence.JOIN
    assert replace(shown, until=START).ready_by is None


def test_an_attempt_that_never_joined_says_so_once_it_is_over() -> None:
    session = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), *given.accepted(ASR))
    assert present(session).reason is None
    first, _ = attempts(given.after(session, replaced(START + 10)))
    ended = present(given.after(session, ev.DeadlinePassed(START + 30)))
    assert (first.reason, ended.reason) == (ServiceReason.NEVER_JOINED, ServiceReason.NEVER_JOINED)
    assert ended.late is None


# --- who is awaited ---------------------------------------------------------------------------------


def test_the_timeline_awaits_acceptance_then_join_then_readiness() -> None:
    """It has SERVICE_JOIN_TIMEOUT to join; for the rest there is only the session's own deadline."""
    start, ends = [*given.invited(0)], START + 30
    assert awaited() is None
    assert awaited(*start) == Late(Awaited.ACCEPT, START, ends)
    start += given.accepted(0, at=START + 1)
    assert awaited(*start) == Late(Awaited.JOIN, START + 1, START + 11)
    start.append(given.seen("sm-asr-1", "PA_1", START + 2))
    assert awaited(*start) == Late(Awaited.READY, START + 2, ends)
    start.append(given.signal("sm-asr-1", Signal.READY, START + 3))
    assert awaited(*start) is None


def test_an_attempt_that_is_held_stays_overdue() -> None:
    """When the next replacement is tried does not change when it was due, nor does sending the invite again."""
    came = [*given.invited(0), *given.accepted(0, at=START + 1)]
    overdue = Late(Awaited.JOIN, START + 1, START + 11)
    for at in (11, 12, 20):
        came.append(ev.ReplacementHeld(START + at, 0, 1, START + at + 4))
        assert awaited(*came) == overdue
    again = ev.InviteStarted(START + 25, 0, 1, 2, "sm-asr-1", "inv_0")
    assert awaited(*came, again) == overdue


def test_a_refused_attempt_is_awaited_until_the_session_is_over() -> None:
    """There is no other instance, so a replacement is tried in vain once a second."""
    came: list[ev.Event] = [*given.invited(0)]
    retries = []
    for tries in (1, 2):
        came.append(ev.InviteRefused(START + tries, 0, 1, tries, Refusal.UNREACHABLE))
        session = given.after(given.a_session(given.SIGNALS), *given.managed(), *came)
        again = session.services[0].current.retry_at
        assert present(session).late == Late(Awaited.ACCEPT, START, START + 30, again)
        held = ev.ReplacementHeld(START + tries, 0, 1, START + tries + 1)
        assert present(given.after(session, held)).late == present(session).late
        retries.append(again)
        came.append(ev.InviteStarted(again, 0, 1, tries + 1, "sm-asr-1", "inv_0"))
        assert awaited(*came) == Late(Awaited.ACCEPT, START, START + 30)
    assert retries[0] < retries[1]


def test_a_failed_attempt_is_not_awaited() -> None:
    came = [*given.invited(0), given.seen("sm-asr-1", "PA_1", START + 1)]
    assert awaited(*came, given.signal("sm-asr-1", Signal.FAILED, START + 2)) is None
    assert awaited(*came, given.left("sm-asr-1", "PA_1", START + 2)) is None


def test_an_optional_service_is_awaited_only_for_its_time_to_join() -> None:
    optional = given.made_optional(given.SIGNALS)
    assert awaited(*given.invited(0), service=optional) == Late(Awaited.ACCEPT, START, None)
    joins = [*given.invited(0), *given.accepted(0)]
    assert awaited(*joins, service=optional) == Late(Awaited.JOIN, START, START + 10)
    assert awaited(*joins, given.seen("sm-asr-1", "PA_1", START), service=optional) == Late(Awaited.READY, START, None)


def test_a_replacement_is_awaited_until_the_session_would_fail() -> None:
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS), *given.managed(), *given.invited(ASR, LLM), *given.accepted(ASR)
    )
    session = given.after(
        session, given.seen("sm-asr-1", "PA_1", START), given.signal("sm-llm-1", Signal.READY, START + 1)
    )
    session = given.after(session, given.left("sm-asr-1", "PA_1", START + 50), replaced(START + 51))
    assert present(session).late == Late(Awaited.ACCEPT, START + 51, START + 70)
    assert present(session, LLM).late is None


# --- in every history -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(4))
def test_every_session_has_a_timeline_that_agrees_with_it(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        for session in a_history(*by_chance(seed)).past[-10:]:
            told = steps(session)
            assert told == sorted(told, key=lambda step: step.at)
            assert told[0].name is StepName.REQUESTED
            every = attempts(session)
            for entry, service in enumerate(session.services):
                its = [attempt for attempt in every if attempt.entry == entry]
                assert [attempt.until is None for attempt in its] == [False] * (len(its) - 1) + [True]
                assert [told.attempt.number for told in its] == list(range(its[0].attempt.number, service.attempt + 1))
                assert its[-1].attempt.state is service.state
            late = [attempt.late for attempt in every if attempt.late is not None]
            ends = deadline(session)
            assert not late or not session.over
            assert all(one.due is None or ends is None or one.due <= ends[0] for one in late) or session.all_ready
