"""Attempts to get a service for an entry of a session: when one has failed, when the next may follow, and the record
that a try of an invite is about to be sent: the instance, its identity and its invite id. PURE."""

from __future__ import annotations

import math

from manager_agent.backoff import backoff
from manager_agent.session.events import Chosen, InviteStarted
from manager_agent.session.identities import Identities
from manager_agent.session.required_service import Attempt
from manager_agent.session.session import Session

REJOIN_GRACE = 0.5
"""Seconds for a service that has left to be back before another is invited: the SDK may just have reconnected."""


def failed_at(attempt: Attempt) -> float | None:
    """When it failed; None if it has not. One that is late may still join."""
    if attempt.reported_failure:
        return attempt.timeline.failed
    if attempt.lost:
        return attempt.timeline.left
    return attempt.refused_at if attempt.refused else None


def again_at(attempt: Attempt) -> float:
    """From when on an instance may be invited that was tried for this entry before; another one need not wait."""
    failed = failed_at(attempt)
    if failed is None:
        return -math.inf
    if attempt.may_be_asked_again:
        return attempt.retry_at
    return failed + backoff(attempt.invite_id, attempt.number)


def resend_at(attempt: Attempt) -> float:
    """When an instance that refused is sent the same invite again; infinity: it is not."""
    return attempt.retry_at if attempt.refused and attempt.may_be_asked_again else math.inf


def replace_at(attempt: Attempt, join_timeout: float) -> float:
    """When to look for a replacement, another instance or the same, unless something happens before."""
    failed, late = failed_at(attempt), attempt.overdue_since
    if attempt.in_flight:
        return math.inf
    if failed is not None:
        at = failed + (REJOIN_GRACE if attempt.lost and not attempt.reported_failure else 0.0)
    else:
        at = math.inf if late is None else max(late, attempt.resent_at) + join_timeout
    return max(at, attempt.held_until)


def invite_started(
    identities: Identities,
    session: Session,
    entry: int,
    *,
    attempt: int,
    tries: int,
    at: float,
    instead: Chosen | None = None,
) -> InviteStarted:
    """Try number `tries` of attempt number `attempt` for this entry of the session.

    `instead`: the instance to invite, unless it is the entry's own: another one, or the same as it is registered now.
    """
    current = session.services[entry].current
    instance = instead or current.instance
    if attempt == current.number:
        identity = current.identity
    elif instance.agent_name is not None:
        identity = None  # LiveKit's dispatch gives it one
    else:
        identity = identities.service(session.session_id, entry, instance.service_id, attempt)
    invite_id = identities.invite(session.session_id, entry, attempt)
    return InviteStarted(at, entry, attempt, tries, identity, invite_id, instead)
