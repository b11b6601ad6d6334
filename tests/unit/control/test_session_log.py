"""The session log: every step once, with the service it is about."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from manager_agent.control.session_log import LogLine, log_changes, steps_of
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, Signal
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change
from tests.unit import sessions as given
from tests.unit.sessions import ASR, BOT, LLM, START

pytestmark = pytest.mark.unit

ASR_IDENTITY, LLM_IDENTITY = given.IDENTITIES[ASR] or "", given.IDENTITIES[LLM] or ""
BEGUN = (*given.managed(), *given.invited(ASR, LLM), *given.accepted(ASR, LLM, at=START + 0.02))


def steps(session: Session, *events: Event) -> list[LogLine]:
    """Of each change, in order."""
    told: list[LogLine] = []
    for event in events:
        changed = apply(session, event)
        if changed is not session:
            told += steps_of(Change(session.session_id, session, changed, event))
        session = changed
    return told


def names(told: Sequence[LogLine]) -> list[str]:
    return [step.event for step in told]


def test_the_session_log_has_every_step_of_a_session_that_becomes_ready() -> None:
    told = steps(
        replace(given.a_session(given.JOINS, given.SIGNALS), state_since=START),
        *BEGUN,
        given.seen(ASR_IDENTITY, "PA_1", START + 0.3),
        given.seen(LLM_IDENTITY, "PA_2", START + 0.4),
        given.signal(LLM_IDENTITY, Signal.READY, START + 0.5),
        given.seen("alice", "PA_3", START + 1),
        given.left("alice", "PA_3", START + 9),
        ev.SessionClosed(START + 10),
    )
    assert names(told) == [
        "service_invited", "service_invited",
        "service_accepted", "service_accepted",
        "service_joined", "service_ready",
        "service_joined", "service_ready", "session_state",
        "user_joined", "session_state",
        "user_left", "session_state",
        "session_state",
    ]  # fmt: skip
    assert told[7].fields == {
        "service_id": "llm-service",
        "type": "LLM",
        "attempt": 1,
        "identity": LLM_IDENTITY,
        "after_ms": 500.0,
        "evidence": Evidence.MESSAGE,
    }
    assert told[8].fields == {"state": "ready", "before": "waiting", "after_ms": 500.0}
    assert told[-1].fields["reason"] == "closed"
    assert not any(step.is_warning for step in told)


def test_a_lost_or_failed_service_is_logged_as_a_warning_with_its_reason() -> None:
    ready = given.after(
        given.a_session(given.JOINS, given.SIGNALS), *BEGUN, given.seen(ASR_IDENTITY, "PA_1", START + 0.3)
    )
    told = steps(
        ready, given.left(ASR_IDENTITY, "PA_1", START + 5), given.signal(LLM_IDENTITY, Signal.FAILED, START + 6)
    )
    assert names(told) == ["service_left", "service_failed"]
    assert [(step.fields["reason"], step.is_warning) for step in told] == [("left", True), ("reported_failure", True)]


def test_the_next_attempt_of_a_service_is_logged_from_its_start() -> None:
    """Its instants are its own, even if equal to those of the attempt before."""
    failed = given.after(
        given.a_session(given.JOINS),
        *given.managed(),
        *given.invited(ASR),
        *given.accepted(ASR),
        given.signal(ASR_IDENTITY, Signal.FAILED, START),
    )
    again = (ev.InviteStarted(START, ASR, 2, 1, "sm-asr-2", "inv_2"), ev.InviteAccepted(START, ASR, 2, 1))
    told = [(step.event, step.fields["attempt"]) for step in steps(failed, *again)]
    assert told == [("service_invited", 2), ("service_accepted", 2)]


def test_a_failed_session_is_logged_with_every_missing_service() -> None:
    """Including one that took no step at all; without those that were ready or optional."""
    spare = given.made_optional(given.AGENT)
    begun = given.after(
        given.a_session(given.JOINS, given.SIGNALS, given.AGENT, spare),
        *given.managed(),
        *given.invited(ASR, LLM, BOT),
        *given.accepted(ASR, LLM),
        given.seen(ASR_IDENTITY, "PA_1", START + 0.3),
    )
    told = steps(begun, ev.DeadlinePassed(START + 60))
    assert [(step.event, step.is_warning) for step in told] == [
        ("service_missing", True),
        ("service_missing", True),
        ("session_state", True),
    ]
    assert told[0].fields == {
        "service_id": "llm-service",
        "type": "LLM",
        "attempt": 1,
        "identity": LLM_IDENTITY,
        "state": "accepted",
        "reason": "never_joined",
    }
    assert told[1].fields == {
        "service_id": "bot-service",
        "type": "BOT",
        "attempt": 1,
        "state": "invited",
        "reason": "never_joined",
    }


def test_a_degraded_session_is_logged_as_a_warning() -> None:
    ready = given.after(
        given.a_session(given.JOINS),
        *given.managed(),
        *given.invited(ASR),
        *given.accepted(ASR),
        given.seen(ASR_IDENTITY, "PA_1", START + 1),
    )
    told = steps(ready, given.left(ASR_IDENTITY, "PA_1", START + 5))
    assert [(step.event, step.is_warning) for step in told] == [("service_left", True), ("session_state", True)]


def test_changes_without_a_log_event_are_not_logged() -> None:
    events: list[Event] = [
        ev.WebhookArrived(START),
        ev.ListingStarted(START + 5),
        ev.ListingFailed(START + 6, START + 5),
    ]
    assert steps(given.after(given.a_session(given.JOINS), *given.managed()), *events) == []


def test_session_log_entries_have_session_id_and_room_name() -> None:
    new = replace(given.a_session(given.JOINS), owner="acme")
    with capture_logs() as logs:
        log_changes(Change("s1", None, new))
        log_changes(Change("s1", new, None))
    about = {"session_id": "s1", "room": "demo", "log_level": "info"}
    assert logs == [
        {"event": "session_opened", "services": ["asr-service"], "user": "alice", "owner": "acme", **about},
        {"event": "session_forgotten", **about},
    ]


def test_session_trouble_is_logged_at_level_warning() -> None:
    asked = replace(given.a_session(given.JOINS), owner="acme")
    begun = given.after(asked, *given.managed(), *given.invited(ASR), *given.accepted(ASR))
    event = given.signal(ASR_IDENTITY, Signal.FAILED, START + 1)
    with capture_logs() as logs:
        log_changes(Change("s1", begun, apply(begun, event), event))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("service_failed", "warning")]


def test_steps_of_the_health_check_are_logged_at_level_debug() -> None:
    with capture_logs() as logs:
        log_changes(Change("s1", None, given.a_session(given.JOINS)))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("session_opened", "debug")]
