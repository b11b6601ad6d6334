"""What happens to sessions, as log events: one for each step that a session, a service or the user takes.

`log_changes` is for the store's listen(), so that no step is missed however short it lasts, and each is logged in the
context of its cause: the log line of a join that a webhook tells has the webhook's request_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from manager_agent.session.change_values import (
    AttemptStarted,
    AttemptStep,
    SessionChange,
    SessionForgotten,
    SessionOpened,
    StateChanged,
    StepTaken,
    UserJoined,
    UserLeft,
)
from manager_agent.session.session import RequiredService, ServiceState, Session, SessionState
from manager_agent.store.store import Change

log = structlog.get_logger()

TROUBLE = frozenset({AttemptStep.LEFT, AttemptStep.FAILED})
STATES_OF_TROUBLE = frozenset({SessionState.DEGRADED, SessionState.FAILED})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One step, as an event of the log."""

    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_trouble: bool = False


def log_changes(change: Change) -> None:
    """Log every step of this change."""
    for step in steps_of(change):
        write = log.warning if step.is_trouble else log.info
        write(step.event, **change.session.log_fields, **step.fields)


def steps_of(change: Change) -> Iterator[LogLine]:
    """Every step of this change, in the order in which they are logged. PURE."""
    for happened in change.happened:
        yield from _lines(change.session, happened)


def _lines(session: Session, happened: SessionChange) -> Iterator[LogLine]:
    match happened:
        case SessionOpened():
            services = [service.service_id for service in session.services]
            about = {"services": services, "user": session.user.identity, "owner": session.owner}
            yield LogLine("session_opened", about)
        case SessionForgotten():
            yield LogLine("session_forgotten")
        case AttemptStarted(entry):
            yield LogLine("service_invited", _who(session.services[entry]))
        case StepTaken(entry, step, at):
            trouble = step in TROUBLE and not session.over
            yield LogLine(f"service_{step}", _about(session, session.services[entry], step, at), is_trouble=trouble)
        case UserJoined():
            yield LogLine("user_joined", {"identity": session.user.identity})
        case UserLeft():
            yield LogLine("user_left", {"identity": session.user.identity})
        case StateChanged(before, after, lasted):
            if after is SessionState.FAILED:
                yield from _missing(session)
            fields = {"state": after, "before": before, "after_ms": _ms(lasted)}
            if session.end is not None:
                fields["reason"] = session.end.reason
            yield LogLine("session_state", fields, is_trouble=after in STATES_OF_TROUBLE)


def _missing(session: Session) -> Iterator[LogLine]:
    """The services that were required and not there when the session failed. One that never joined, or never answered,
    has taken no step that would name it."""
    for service in session.services:
        if not service.optional and service.state is not ServiceState.READY:
            about = {**_who(service), "state": service.state, "reason": session.reason_of(service)}
            yield LogLine("service_missing", about, is_trouble=True)


def _about(session: Session, service: RequiredService, step: AttemptStep, at: float) -> dict[str, Any]:
    fields = {**_who(service), "after_ms": _ms(at - service.current.invited_at)}
    if step is AttemptStep.READY:
        fields["evidence"] = service.ready_by
    if step in TROUBLE:
        fields["reason"] = session.reason_of(service)
    return fields


def _who(service: RequiredService) -> dict[str, Any]:
    """An agent that is dispatched by its name has no identity before it comes."""
    fields: dict[str, Any] = {"service_id": service.service_id, "type": service.type, "attempt": service.attempt}
    return fields if service.identity is None else {**fields, "identity": service.identity}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
