"""What happens to sessions, as log events: one for each step that a session, a service or the user takes.

`log_changes` is for the store's listen(), so that no step is missed however short it lasts, and each is told by whoever
makes it: the log line of a join that a webhook tells has the webhook's request_id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from manager_agent.session.session import RequiredService, ServiceState, Session, SessionState, Timeline
from manager_agent.store.store import Change

log = structlog.get_logger()

STEPS = ("invited", "accepted", "joined", "ready", "left", "failed")
"""The instants of a service's timeline that are told."""
TROUBLE = frozenset({"left", "failed"})
STATES_OF_TROUBLE = frozenset({SessionState.DEGRADED, SessionState.FAILED})


@dataclass(frozen=True, slots=True)
class LogLine:
    """One step, as an event of the log."""

    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    is_trouble: bool = False


def log_changes(change: Change) -> None:
    """Logs every step of this change."""
    session = change.after or change.before
    assert session is not None, "a change is of something"
    for step in steps_of(change):
        write = log.warning if step.is_trouble else log.info
        write(step.event, **session.log_fields, **step.fields)


def steps_of(change: Change) -> Iterator[LogLine]:
    """Every step of this change, in the order in which they are told. PURE."""
    before, after = change.before, change.after
    if after is None:
        yield LogLine("session_forgotten")
        return
    if before is None:
        services = [service.service_id for service in after.services]
        yield LogLine("session_opened", {"services": services, "user": after.user.identity, "owner": after.owner})
        return
    for was, service in zip(before.services, after.services, strict=True):
        yield from _steps_of_service(after, was, service)
    if before.user_presence.sid != after.user_presence.sid:
        came = after.user_presence.here
        yield LogLine("user_joined" if came else "user_left", {"identity": after.user.identity})
    if before.state is not after.state:
        if after.state is SessionState.FAILED:
            yield from _missing(after)
        yield _state_step(before, after)


def _state_step(before: Session, after: Session) -> LogLine:
    fields = {"state": after.state, "before": before.state, "after_ms": _ms(before.state_since, after.state_since)}
    if after.end is not None:
        fields["reason"] = after.end.reason
    return LogLine("session_state", fields, is_trouble=after.state in STATES_OF_TROUBLE)


def _missing(session: Session) -> Iterator[LogLine]:
    """The services that were required and not there when the session failed. One that never joined, or never answered,
    has taken no step that would name it."""
    for service in session.services:
        if not service.optional and service.state is not ServiceState.READY:
            about = {**_who(service), "state": service.state, "reason": session.reason_of(service)}
            yield LogLine("service_missing", about, is_trouble=True)


def _steps_of_service(session: Session, was: RequiredService, service: RequiredService) -> Iterator[LogLine]:
    known = was.timeline if was.attempt == service.attempt else Timeline()
    for step in STEPS:
        at: float | None = getattr(service.timeline, step)
        if at is not None and at != getattr(known, step):
            trouble = step in TROUBLE and not session.over
            yield LogLine(f"service_{step}", _about(session, service, step, at), is_trouble=trouble)


def _about(session: Session, service: RequiredService, step: str, at: float) -> dict[str, Any]:
    fields = _who(service)
    if service.timeline.invited is not None and step != "invited":
        fields["after_ms"] = _ms(service.timeline.invited, at)
    if step == "ready":
        fields["evidence"] = service.ready_by
    if step in TROUBLE:
        fields["reason"] = session.reason_of(service)
    return fields


def _who(service: RequiredService) -> dict[str, Any]:
    """An agent that is dispatched by its name has no identity before it comes."""
    fields: dict[str, Any] = {"service_id": service.service_id, "type": service.type, "attempt": service.attempt}
    return fields if service.identity is None else {**fields, "identity": service.identity}


def _ms(since: float, until: float) -> float:
    return round((until - since) * 1000, 1)
