"""When an attempt to get a service has failed, when the next may follow, and the event that records the try of an
invite (with its instance, identity and invite id) before it is sent. PURE."""

from __future__ import annotations

import math

from manager_agent.backoff import backoff
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, InviteStarted
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session

REJOIN_GRACE = 0.5
"""Seconds for a service that left to return before another is invited: the SDK may only be reconnecting."""
CUT_OFF_GRACE = 10.0
"""The same for a service that was cut off together with the manager: two tries of an SDK to connect anew."""
CUT_OFF_SHARE = 1 / 2
"""The most of a session's replacement timeout that this takes: the rest is for another one."""


def failed_at(attempt: Attempt) -> float | None:
    """When the attempt failed; None if it has not. A late service may still join."""
    if attempt.reported_failure:
        return attempt.timeline.failed
    if attempt.lost:
        return attempt.timeline.left
    if attempt.never_joined:
        return attempt.timeline.failed
    return attempt.refused_at if attempt.refused else None


def returns_until(session: Session, cut_off_at: float) -> float:
    """Until when a service that was cut off is not replaced, because it may come back by itself."""
    return cut_off_at + min(CUT_OFF_GRACE, session.limits.replacement_timeout * CUT_OFF_SHARE)


def again_at(attempt: Attempt) -> float:
    """When an instance that was already tried for this entry may be invited again. Other instances need not wait."""
    failed = failed_at(attempt)
    if failed is None:
        return -math.inf
    if attempt.may_be_asked_again:
        return attempt.retry_at
    return failed + backoff(attempt.invite_id, attempt.number)


def resend_at(attempt: Attempt) -> float:
    """When to send the same invite again to an instance that refused it, or may not have got it; infinity: never."""
    if attempt.is_interrupted:
        return -math.inf if attempt.may_be_asked_again and not attempt.in_flight else math.inf
    return attempt.retry_at if attempt.refused and attempt.may_be_asked_again else math.inf


def replace_at(attempt: Attempt, join_timeout: float) -> float:
    """When to look for a replacement (another instance or the same) unless something happens first."""
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

    `instead`: the instance to invite instead of the entry's current one; it may be a newer registration of the same.
    """
    current = session.services[entry].current
    instance = instead or current.instance
    if attempt == current.number:
        identity = current.identity
    elif instance.agent_name is not None:
        identity = None  # assigned by LiveKit's dispatch
    else:
        identity = identities.service(session.session_id, entry, instance.service_id, attempt)
    invite_id = identities.invite(session.session_id, entry, attempt)
    return InviteStarted(at, entry, attempt, tries, identity, invite_id, instead)
