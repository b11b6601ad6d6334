"""Log the changes of sessions: one event for each step of a session, a service or the user.

`log_changes` is a listener of the store: it sees every change, however short a state lasts, and logs it in the context
of its cause. For example, a join reported by a webhook is logged with the webhook's request_id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from manager_agent.session.attempt import ServiceState
from manager_agent.session.change_values import (
    AttemptStarted,
    AttemptStep,
    Revised,
    RoomLost,
    SessionChange,
    SessionForgotten,
    SessionOpened,
    SessionRestored,
    StateChanged,
    StepTaken,
    UserJoined,
    UserLeft,
)
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, SessionState
from manager_agent.store.store import Change

log = structlog.get_logger()

WARNING_STEPS = frozenset({AttemptStep.LEFT, AttemptStep.FAILED})
WARNING_STATES = frozenset({SessionState.DEGRADED, SessionState.FAILED})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One step as a log event."""

    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_warning: bool = False


def log_changes(change: Change) -> None:
    """Log every step of this change; those of the health check's sessions, which have no owner, at level debug."""
    session = change.session
    if not log.is_enabled_for(logging.WARNING if session.owner else logging.DEBUG):
        return
    if steps := list(steps_of(change)):
        about = session.log_fields
        for step in steps:
            write = log.debug if not session.owner else log.warning if step.is_warning else log.info
            write(step.event, **about, **step.fields)


def steps_of(change: Change) -> Iterator[LogLine]:
    """Every step of this change, in the order to log them."""
    for part in change.parts:
        yield from _lines(change.session, part)


def _lines(session: Session, part: SessionChange) -> Iterator[LogLine]:
    match part:  # the most frequent first
        case Revised():
            return
        case StepTaken(entry, step, at):
            is_warning = step in WARNING_STEPS and not session.over
            yield LogLine(
                f"service_{step}", _step_fields(session, session.services[entry], step, at), is_warning=is_warning
            )
        case StateChanged(before, after, lasted):
            if after is SessionState.FAILED:
                yield from _not_ready(session)
            fields = {"state": str(after), "before": str(before), "after_ms": _ms(lasted)}
            if session.end is not None:
                fields["reason"] = str(session.end.reason)
            yield LogLine("session_state", fields, is_warning=after in WARNING_STATES)
        case AttemptStarted(entry):
            yield LogLine("service_invited", _service_fields(session.services[entry]))
        case SessionOpened():
            services = [service.service_id for service in session.services]
            about = {"services": services, "user": session.user.identity, "owner": session.owner}
            yield LogLine("session_opened", about)
        case SessionRestored() if not session.over:
            yield LogLine("session_recovered", {"state": str(session.state), "revision": session.revision})
        case SessionForgotten():
            yield LogLine("session_forgotten")
        case RoomLost(sid, remakes):
            yield LogLine("room_lost", {"sid": sid, "remakes": remakes}, is_warning=True)
        case UserJoined():
            yield LogLine("user_joined", {"identity": session.user.identity})
        case UserLeft():
            yield LogLine("user_left", {"identity": session.user.identity})


def _not_ready(session: Session) -> Iterator[LogLine]:
    """The required services that were not ready when the session failed. A service that never answered or joined has
    taken no step, so no other event names it."""
    for service in session.services:
        if not service.optional and service.state is not ServiceState.READY:
            about = {
                **_service_fields(service),
                "state": str(service.state),
                "reason": _plain(session.reason_of(service)),
            }
            yield LogLine("service_missing", about, is_warning=True)


def _step_fields(session: Session, service: RequiredService, step: AttemptStep, at: float) -> dict[str, Any]:
    fields = {**_service_fields(service), "after_ms": _ms(at - service.current.invited_at)}
    if step is AttemptStep.READY:
        fields["evidence"] = _plain(service.ready_by)
    if step in WARNING_STEPS:
        fields["reason"] = _plain(session.reason_of(service))
    return fields


def _service_fields(service: RequiredService) -> dict[str, Any]:
    """The fields of every event about a service. A dispatched agent has no identity before it joins."""
    fields: dict[str, Any] = {"service_id": service.service_id, "type": service.type, "attempt": service.attempt}
    return fields if service.identity is None else {**fields, "identity": service.identity}


def _plain(value: StrEnum | None) -> str | None:
    """As JSON has it: entries of plain values need no copy to be written."""
    return None if value is None else str(value)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
