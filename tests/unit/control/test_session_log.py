"""What happens to sessions, as log events: every step once, with whom it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from manager_agent.control.session_log import LogLine, log_changes, steps_of
from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, Signal
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change
from tests.unit.sessions import (
    AGENT,
    ASR,
    BOT,
    IDENTITIES,
    JOINS,
    LLM,
    SIGNALS,
    START,
    a_session,
    accepted,
    after,
    invited,
    left,
    made_optional,
    managed,
    seen,
    signal,
)

pytestmark = pytest.mark.unit

ASR_IDENTITY, LLM_IDENTITY = IDENTITIES[ASR] or "", IDENTITIES[LLM] or ""
BEGUN = (*managed(), *invited(ASR, LLM), *accepted(ASR, LLM, at=START + 0.02))


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


def test_a_session_that_gets_ready_and_ends_is_told_step_by_step() -> None:
    told = steps(
        replace(a_session(JOINS, SIGNALS), state_since=START),
        *BEGUN,
        seen(ASR_IDENTITY, "PA_1", START + 0.3),
        seen(LLM_IDENTITY, "PA_2", START + 0.4),
        signal(LLM_IDENTITY, Signal.READY, START + 0.5),
        seen("alice", "PA_3", START + 1),
        left("alice", "PA_3", START + 9),
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
    assert not any(step.is_trouble for step in told)


def test_a_service_that_is_lost_or_fails_is_trouble_with_a_reason() -> None:
    ready = after(a_session(JOINS, SIGNALS), *BEGUN, seen(ASR_IDENTITY, "PA_1", START + 0.3))
    told = steps(ready, left(ASR_IDENTITY, "PA_1", START + 5), signal(LLM_IDENTITY, Signal.FAILED, START + 6))
    assert names(told) == ["service_left", "service_failed"]
    assert [(step.fields["reason"], step.is_trouble) for step in told] == [("left", True), ("reported_failure", True)]


def test_the_next_attempt_is_told_anew() -> None:
    """Its instants are its own, though they be the same as those of the one before."""
    failed = after(
        a_session(JOINS), *managed(), *invited(ASR), *accepted(ASR), signal(ASR_IDENTITY, Signal.FAILED, START)
    )
    again = (ev.InviteStarted(START, ASR, 2, 1, "sm-asr-2", "inv_2"), ev.InviteAccepted(START, ASR, 2, 1))
    told = [(step.event, step.fields["attempt"]) for step in steps(failed, *again)]
    assert told == [("service_invited", 2), ("service_accepted", 2)]


def test_a_session_that_fails_names_each_service_that_was_missing() -> None:
    """Also one that took no step at all; not one that was ready, nor one that need not be there."""
    spare = made_optional(AGENT)
    begun = after(
        a_session(JOINS, SIGNALS, AGENT, spare),
        *managed(),
        *invited(ASR, LLM, BOT),
        *accepted(ASR, LLM),
        seen(ASR_IDENTITY, "PA_1", START + 0.3),
    )
    told = steps(begun, ev.DeadlinePassed(START + 60))
    assert [(step.event, step.is_trouble) for step in told] == [
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


def test_a_session_that_is_degraded_is_trouble() -> None:
    ready = after(a_session(JOINS), *managed(), *invited(ASR), *accepted(ASR), seen(ASR_IDENTITY, "PA_1", START + 1))
    told = steps(ready, left(ASR_IDENTITY, "PA_1", START + 5))
    assert [(step.event, step.is_trouble) for step in told] == [("service_left", True), ("session_state", True)]


def test_what_changes_nothing_that_is_told_is_told_nothing() -> None:
    events: list[Event] = [
        ev.WebhookArrived(START),
        ev.ListingStarted(START + 5),
        ev.ListingFailed(START + 6, START + 5),
    ]
    assert steps(after(a_session(JOINS), *managed()), *events) == []


def test_it_is_logged_with_the_session_and_the_room() -> None:
    new = a_session(JOINS)
    with capture_logs() as logs:
        log_changes(Change("s1", None, new))
        log_changes(Change("s1", new, None))
    about = {"session_id": "s1", "room": "demo", "log_level": "info"}
    assert logs == [
        {"event": "session_opened", "services": ["asr-service"], "user": "alice", "owner": "", **about},
        {"event": "session_forgotten", **about},
    ]


def test_trouble_is_logged_as_a_warning() -> None:
    begun = after(a_session(JOINS), *managed(), *invited(ASR), *accepted(ASR))
    event = signal(ASR_IDENTITY, Signal.FAILED, START + 1)
    with capture_logs() as logs:
        log_changes(Change("s1", begun, apply(begun, event), event))
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("service_failed", "warning")]
