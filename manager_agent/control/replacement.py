"""What is to be done for a service that failed: another instance, the same anew, the same invite again, or wait.

Asks the registry, and answers with the event to record; the invite itself goes the way of every invite.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from manager_agent.backoff import backoff
from manager_agent.control.late_join_policy import LateJoinPolicy
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.identities import Identities
from manager_agent.session.required_service import Attempt, InstanceRef, RequiredService
from manager_agent.session.retries import again_at, invite_started
from manager_agent.session.session import Session, deadline

LATE_AT_MOST = 3
"""So many times SERVICE_JOIN_TIMEOUT an instance may be late that is seen to be at work; but no longer than half of the
time that there is, so that another one has the other half, unless that one has too much to do itself."""
TOO_MUCH = 2
"""So many late invites at once are too much to do."""
HOLD, IDLE_HOLD = 1.0, 5.0
"""Seconds until the next search for an instance when there was none, and where the session does not wait for it."""


class Replacer:
    """One a process."""

    def __init__(self, registry: Registry, identities: Identities) -> None:
        self._registry, self._identities = registry, identities
        self._late_join_policy = LateJoinPolicy()

    def saw_join(self, ref: InstanceRef, at: float) -> None:
        """This instance has joined a room: it is alive."""
        self._late_join_policy.saw_join(ref, at)

    def decide(self, session: Session, entry: int, now: float) -> ev.InviteStarted | ev.ReplacementHeld:
        """What to do for an entry whose current attempt failed."""
        service, current = session.services[entry], session.services[entry].current
        others = {other.service_id for index, other in enumerate(session.services) if index != entry}
        found = self._registry.another(service, others, _excluded(session, service, now))
        late = current.overdue_since is not None
        if found is None and not (late and current.may_be_asked_again):
            return ev.ReplacementHeld(now, entry, current.number, _look_again_at(session, current, now))
        has_moved = found is not None and found.service_id == service.service_id and found.ref != current.ref
        if late and not has_moved and self._has_time(session, current, found, now):
            return ev.ReplacementHeld(now, entry, current.number, now + HOLD * backoff(current.invite_id, 3))
        if found is None:  # an instance at work on this invite knows it; one that restarted takes it for a first one
            return invite_started(
                self._identities, session, entry, attempt=current.number, tries=current.tries + 1, at=now
            )
        instead = self._registry.give(found.service_id).chosen
        return invite_started(
            self._identities, session, entry, attempt=current.number + 1, tries=1, at=now, instead=instead
        )

    def _has_time(self, session: Session, late: Attempt, found: RegisteredService | None, now: float) -> bool:
        """Whether to wait for one that is late, though `found` could be invited."""
        timeout, since = session.limits.service_join_timeout, late.overdue_since or now
        self._late_join_policy.saw_late(late.ref, late.invite_id, now)
        if self._late_join_policy.is_at_work(late.ref, now - timeout):
            no_better = found is not None and self._late_join_policy.late(found.ref, now) >= TOO_MUCH
            if now < (since + LATE_AT_MOST * timeout if no_better else _late_until(session, late)):
                return True
        return not self._late_join_policy.is_over(late.ref, since + timeout, now)


def _excluded(session: Session, service: RequiredService, now: float) -> Collection[InstanceRef]:
    """Who may not be invited anew for this entry at this moment."""
    current = service.current
    if now < again_at(current):
        return service.tried
    if current.may_be_asked_again or now < _late_until(session, current):
        return (current.ref,)
    return ()


def _late_until(session: Session, attempt: Attempt) -> float:
    """Until when at most one that accepted its invite is waited for."""
    since, ends = attempt.overdue_since, deadline(session)
    if since is None or ends is None:
        return -math.inf
    timeout = session.limits.service_join_timeout
    return since + max(timeout, min(LATE_AT_MOST * timeout, (ends[0] - since) / 2))


def _look_again_at(session: Session, attempt: Attempt, now: float) -> float:
    """When to look for an instance again."""
    again, at = again_at(attempt), now + (IDLE_HOLD if session.all_ready else HOLD)
    return again if now < again < at else at
