"""The timeline of a session: its steps and all attempts in order of time, and which services are awaited until when.
PURE."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise

from manager_agent.frozen import Frozen
from manager_agent.session.attempt import Attempt, ServiceReason, ServiceState
from manager_agent.session.deadlines import deadline
from manager_agent.session.events import Evidence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.retries import resend_at
from manager_agent.session.session import Session


class StepName(StrEnum):
    REQUESTED = "requested"
    ROOM_REQUESTED = "room_requested"
    ROOM_LOST = "room_lost"
    ROOM_CREATED = "room_created"
    MANAGER_ACCEPTED = "manager_accepted"
    MANAGER_JOINED = "manager_joined"
    READY = "ready"
    USER_JOINED = "user_joined"
    USER_LEFT = "user_left"
    ENDED = "ended"


class TimelineStep(Frozen):
    name: StepName
    at: float


class Awaited(StrEnum):
    """What a service is expected to do next."""

    ACCEPT = "accept"
    JOIN = "join"
    READY = "ready"


class Late(Frozen):
    """What is expected from a service that is not ready yet, whether or not it is overdue."""

    awaited: Awaited
    since: float
    due: float | None
    """When it may be replaced, or when the session fails without it; None when nothing waits for it."""
    retry_at: float | None = None
    """When the invite is sent again to a service that refused it."""


class TimelineAttempt(Frozen):
    """One attempt to get a service for an entry of the session."""

    entry: int
    optional: bool
    attempt: Attempt
    reason: ServiceReason | None
    until: float | None
    """When the next attempt replaced it; None for the current attempt."""
    late: Late | None

    @property
    def ready_by(self) -> Evidence | None:
        """The evidence that makes it ready; None when it is not ready, or no longer ready."""
        return self.attempt.ready_by if self.until is None else None


def steps(session: Session) -> list[TimelineStep]:
    """The steps known so far, in order of time. A user who rejoins has joined twice."""
    user, manager, joined_at = session.user_presence, session.manager, session.user_joined_at
    rejoined_at = user.reported_at if user.reported_at != joined_at else None
    known = (
        (StepName.REQUESTED, session.created_at),
        (StepName.ROOM_REQUESTED, session.room.requested_at),
        (StepName.ROOM_LOST, session.room.previous_lost_at),
        (StepName.ROOM_CREATED, session.room.created_at),
        (StepName.MANAGER_ACCEPTED, manager.accepted_at),
        (StepName.MANAGER_JOINED, manager.joined_at),
        (StepName.READY, session.ready_at),
        (StepName.USER_JOINED, joined_at),
        (StepName.USER_LEFT, session.user_left_at),
        (StepName.USER_JOINED, rejoined_at),
        (StepName.ENDED, None if session.end is None else session.end.at),
    )
    return sorted((TimelineStep(name, at) for name, at in known if at is not None), key=lambda step: step.at)


def attempts(session: Session) -> list[TimelineAttempt]:
    """Every remembered attempt, ordered by entry; the current attempt of each entry is last."""
    return [attempt for entry, service in enumerate(session.services) for attempt in _of_entry(session, entry, service)]


def _of_entry(session: Session, entry: int, service: RequiredService) -> Iterator[TimelineAttempt]:
    for attempt, following in pairwise((*service.past, service.current)):
        until = following.timeline.invited
        yield TimelineAttempt(entry, service.optional, attempt, attempt.shortfall, until, late=None)
    reason = session.reason_of(service)
    yield TimelineAttempt(entry, service.optional, service.current, reason, until=None, late=late(session, service))


def late(session: Session, service: RequiredService) -> Late | None:
    """What is expected from this service; None when it is ready, has failed, or nothing is expected."""
    if session.over:
        return None
    timeline = service.timeline
    match service.state:
        case ServiceState.INVITED:
            awaited, since = Awaited.ACCEPT, timeline.invited
        case ServiceState.ACCEPTED:
            awaited, since = Awaited.JOIN, timeline.accepted
        case ServiceState.JOINED:
            awaited, since = Awaited.READY, timeline.joined
        case _:
            return None
    assert since is not None, "a state follows from its instant"
    return Late(awaited, since, _known(_due(session, service)), _known(resend_at(service.current)))


def _due(session: Session, service: RequiredService) -> float:
    """When the service is due. Not the time of the search for a replacement, which is postponed repeatedly when there
    is no other instance."""
    ends = deadline(session)
    due = math.inf if service.optional or ends is None else ends[0]  # required, so the session is not ready
    late = service.current.overdue_since
    return due if late is None else min(due, late + session.limits.service_join_timeout)


def _known(at: float) -> float | None:
    return at if math.isfinite(at) else None
