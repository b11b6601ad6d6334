"""Decides what to do about a failed service: invite another instance, invite the same one as a new attempt, repeat the
same invite, or wait.

Asks the registry and returns the event to record. The invite itself is then sent like any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from manager_agent.backoff import backoff
from manager_agent.control.late_join_policy import LateJoinPolicy
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt, InstanceRef
from manager_agent.session.deadlines import deadline
from manager_agent.session.identities import Identities
from manager_agent.session.required_service import RequiredService
from manager_agent.session.retries import again_at, invite_started
from manager_agent.session.session import Session

LATE_AT_MOST = 3
"""An instance that keeps joining other rooms may be late by this many times SERVICE_JOIN_TIMEOUT, but by no more than
half of the time until the deadline, so that a replacement has the other half. The latter limit does not apply if the
replacement is overloaded itself."""
OVERLOADED = 2
"""Late invites from which on an instance counts as overloaded."""
HOLD, IDLE_HOLD = 1.0, 5.0
"""Seconds before looking for a replacement again if none was found: if the session waits for it, and if not."""
FULL_FOR = 3.0
"""Seconds for which a service is left out that turned out to be full."""


class Replacer:
    """Shared by all sessions of a process."""

    def __init__(self, registry: Registry, identities: Identities) -> None:
        self._registry, self._identities = registry, identities
        self._late_join_policy = LateJoinPolicy()
        self._full: dict[str, float] = {}
        """Until when services are left out that had no capacity left across replicas."""

    def record_join(self, ref: InstanceRef, at: float) -> None:
        """The instance joined a room: it is alive."""
        self._late_join_policy.record_join(ref, at)

    def held_as_full(self, session: Session, entry: int, service_id: str | None, now: float) -> ev.ReplacementHeld:
        """The service that was decided on had no capacity left. It is left out for a while."""
        if service_id is not None:
            self._full[service_id] = now + FULL_FOR
        return ev.ReplacementHeld(now, entry, session.services[entry].current.number, now + HOLD)

    def decide(self, session: Session, entry: int, now: float) -> ev.InviteStarted | ev.ReplacementHeld:
        """Decide about an entry whose current attempt has failed."""
        service, current = session.services[entry], session.services[entry].current
        others = {other.service_id for index, other in enumerate(session.services) if index != entry}
        self._full = {service_id: until for service_id, until in self._full.items() if until > now}
        others |= self._full.keys() - {service.service_id}
        found = self._registry.another(service, others, _excluded(session, service, now), owner=session.owner)
        late = current.overdue_since is not None
        if found is None and not (late and current.may_be_asked_again):
            return ev.ReplacementHeld(now, entry, current.number, _look_again_at(session, current, now))
        has_moved = found is not None and found.service_id == service.service_id and found.ref != current.ref
        if late and not has_moved and self._has_time(session, current, found, now):
            return ev.ReplacementHeld(now, entry, current.number, now + HOLD * backoff(current.invite_id, 3))
        if found is None:  # repeat the invite: a working instance knows it, a restarted one takes it as new
            return invite_started(
                self._identities, session, entry, attempt=current.number, tries=current.tries + 1, at=now
            )
        instead = self._registry.assign(found.service_id).chosen
        return invite_started(
            self._identities, session, entry, attempt=current.number + 1, tries=1, at=now, instead=instead
        )

    def _has_time(self, session: Session, late: Attempt, found: RegisteredService | None, now: float) -> bool:
        """Whether to keep waiting for a late service although `found` could be invited."""
        timeout, since = session.limits.service_join_timeout, late.overdue_since or now
        self._late_join_policy.record_late(late.ref, late.invite_id, now)
        if self._late_join_policy.has_joined_since(late.ref, now - timeout):
            is_overloaded = found is not None and self._late_join_policy.late_count(found.ref, now) >= OVERLOADED
            if now < (since + LATE_AT_MOST * timeout if is_overloaded else _late_until(session, late)):
                return True
        return not self._late_join_policy.gives_up(late.ref, since + timeout, now)


def _excluded(session: Session, service: RequiredService, now: float) -> Collection[InstanceRef]:
    """The instances that must not be invited now for this entry."""
    current = service.current
    if now < again_at(current):
        return service.tried
    if current.may_be_asked_again or now < _late_until(session, current):
        return (current.ref,)
    return ()


def _late_until(session: Session, attempt: Attempt) -> float:
    """The latest time until which to wait for a service that accepted its invite."""
    since, ends = attempt.overdue_since, deadline(session)
    if since is None or ends is None:
        return -math.inf
    timeout = session.limits.service_join_timeout
    return since + max(timeout, min(LATE_AT_MOST * timeout, (ends[0] - since) / 2))


def _look_again_at(session: Session, attempt: Attempt, now: float) -> float:
    """When to look for a replacement again."""
    again, at = again_at(attempt), now + (IDLE_HOLD if session.all_ready else HOLD)
    return again if now < again < at else at
