"""Attempts to get a service for an entry of a session: when one has come to nothing, when the next may follow, and the
record that a try of an invite is about to be sent: who is invited, under which identity and invite id. PURE."""

from __future__ import annotations

import math

from manager_agent.backoff import backoff
from manager_agent.registry.services import RegisteredService
from manager_agent.session.events import Chosen, InviteStarted
from manager_agent.session.identities import Identities
from manager_agent.session.session import RequiredService, Session

REJOIN_GRACE = 0.5
"""Seconds for a service that has left to be back before another is invited: the SDK may just have reconnected."""


def failed_at(service: RequiredService) -> float | None:
    """When its present attempt came to nothing; None if it has not. One that is late may still come."""
    if service.reported_failure:
        return service.timeline.failed
    if service.lost:
        return service.timeline.left
    return service.refused_at if service.refused else None


def again_at(service: RequiredService) -> float:
    """From when on somebody may be invited who was tried for this entry before; anybody else need not wait."""
    failed = failed_at(service)
    if failed is None:
        return -math.inf
    if service.may_be_asked_again:
        return service.retry_at
    return failed + backoff(service.invite_id, service.attempt)


def resend_at(service: RequiredService) -> float:
    """When one that refused is sent the same invite once more; infinity: it is not."""
    return service.retry_at if service.refused and service.may_be_asked_again else math.inf


def replace_at(service: RequiredService, join_timeout: float) -> float:
    """When somebody is to be looked for in its place, unless something happens before: somebody else, or the same."""
    failed, late = failed_at(service), service.overdue_since
    if service.in_flight:
        return math.inf
    if failed is not None:
        at = failed + (REJOIN_GRACE if service.lost and not service.reported_failure else 0.0)
    else:
        at = math.inf if late is None else max(late, service.resent_at) + join_timeout
    return max(at, service.held_until)


def invite_started(
    identities: Identities,
    session: Session,
    entry: int,
    *,
    attempt: int,
    tries: int,
    at: float,
    instead: RegisteredService | None = None,
) -> InviteStarted:
    """Try number `tries` of attempt number `attempt` for this entry of the session.

    `instead`: who is invited, where the entry does not say it: another instance, or the same as it is registered now.
    """
    service = session.services[entry]
    who = instead or service
    if attempt == service.attempt:
        identity = service.identity
    elif who.agent_name is not None:
        identity = None  # LiveKit's dispatch gives it one
    else:
        identity = identities.service(session.session_id, entry, who.service_id, attempt)
    chosen = None if instead is None else Chosen(who.service_id, who.type, who.endpoint, who.agent_name, who.ready_on)
    return InviteStarted(
        at, entry, attempt, tries, identity, identities.invite(session.session_id, entry, attempt), instead=chosen
    )
