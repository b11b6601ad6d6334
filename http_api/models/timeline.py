"""The response models of a session's timeline, see manager_agent/session/timeline.py."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from http_api.models.responses import View, known_instants, rfc3339_or_none
from manager_agent.messages import rfc3339
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.events import Evidence
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.session.timeline import (
    Awaited,
    Late,
    StepName,
    TimelineAttempt,
    TimelineStep,
    attempts,
    steps,
)


class StepView(View):
    name: StepName
    at: str

    @classmethod
    def of(cls, step: TimelineStep) -> Self:
        return cls(name=step.name, at=rfc3339(step.at))


class LateView(View):
    """What is expected from a service that is not ready yet, whether or not it is overdue."""

    awaited: Awaited
    since: str
    due: str | None
    """When it may be replaced, or when the session fails without it; null when nothing waits for it."""
    retry_at: str | None
    """When the invite is sent again to a service that refused it."""

    @classmethod
    def of(cls, late: Late) -> Self:
        return cls(
            awaited=late.awaited,
            since=rfc3339(late.since),
            due=rfc3339_or_none(late.due),
            retry_at=rfc3339_or_none(late.retry_at),
        )


class AttemptView(View):
    """One attempt to get a service for an entry of the session."""

    entry: int
    """The index of the required service in the session, from 0."""
    attempt: int
    """The number of the attempt; 0: no service has been invited yet."""
    service_id: str
    type: str
    optional: bool
    state: ServiceState
    reason: ServiceReason | None
    detail: str | None
    """More about the reason, as in a session's `services`."""
    ready_by: Evidence | None
    """The evidence that makes it ready; null when it is not ready, or no longer ready."""
    tries: int
    """The number of times the invite was sent."""
    timeline: dict[str, str]
    """The instants known so far, by name."""
    until: str | None
    """When the next attempt replaced it; null for the current attempt."""
    late: LateView | None

    @classmethod
    def of(cls, given: TimelineAttempt) -> Self:
        attempt = given.attempt
        return cls(
            entry=given.entry,
            attempt=attempt.number,
            service_id=attempt.instance.service_id,
            type=attempt.instance.type,
            optional=given.optional,
            state=attempt.state,
            reason=given.reason,
            detail=attempt.fault_detail,
            ready_by=given.ready_by,
            tries=attempt.tries,
            timeline=known_instants(attempt.timeline),
            until=rfc3339_or_none(given.until),
            late=None if given.late is None else LateView.of(given.late),
        )


class TimelineView(View):
    session_id: str
    room_name: str
    state: SessionState
    reason: EndReason | None
    revision: int
    created_at: str
    ready_at: str | None
    ready_deadline: str
    ended_at: str | None
    now: str
    """The server's clock."""
    trace_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    steps: list[StepView]
    """The steps known so far, in order of time. A user who rejoins has joined twice."""
    attempts: list[AttemptView]
    """Ordered by entry; the current attempt of each entry is last."""
    log: list[dict[str, Any]] | None
    """The newest log entries about this session, oldest first; null unless the caller has the scope `admin`."""

    @classmethod
    def of(cls, session: Session, now: float, log: list[dict[str, Any]] | None) -> Self:
        return cls(
            session_id=session.session_id,
            room_name=session.room_name,
            state=session.state,
            reason=None if session.end is None else session.end.reason,
            revision=session.revision,
            created_at=rfc3339(session.created_at),
            ready_at=rfc3339_or_none(session.ready_at),
            ready_deadline=rfc3339(session.ready_deadline),
            ended_at=None if session.end is None else rfc3339(session.end.at),
            now=rfc3339(now),
            trace_id=session.log_fields.get("trace_id"),
            steps=[StepView.of(step) for step in steps(session)],
            attempts=[AttemptView.of(attempt) for attempt in attempts(session)],
            log=log,
        )
