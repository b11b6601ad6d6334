"""What is to be done for a service that failed: another instance, the same anew, the same invite again, or wait.

Asks the registry, and answers with the event to record; the invite itself goes the way of every invite.
"""

from __future__ import annotations

import math

from manager_agent import events as ev
from manager_agent.attempts import invite_started
from manager_agent.manager import backoff
from manager_agent.names import Names
from manager_agent.registry import Registry
from manager_agent.services import Service
from manager_agent.session import RequiredService, Session

LATE_BURST, LATE_INTERVAL = 3, 1.0
"""So many services that are late are replaced at once, and then one in so many seconds, of all sessions together.
When more are late, it is this machine or its network that is: inviting others would double the load."""
LATE_AT_MOST = 3
"""So many times SERVICE_JOIN_TIMEOUT an instance may be late that is seen to be at work."""
HOLD = 1.0
"""Seconds until somebody is looked for again when there was nobody."""


class Patience:
    """Lets a few through at once and then one in an interval: a leaky bucket (GCRA, ITU-T I.371)."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def is_over(self, now: float) -> bool:
        """Whether a service that is late may be replaced now."""
        earliest = max(self._free_at, now)
        if earliest - now > (LATE_BURST - 1) * LATE_INTERVAL:
            return False
        self._free_at = earliest + LATE_INTERVAL
        return True


class Replacer:
    """One a process."""

    def __init__(self, registry: Registry, names: Names) -> None:
        self._registry, self._names = registry, names
        self._patience = Patience()
        self._joined_at: dict[str, float] = {}

    def saw_join(self, service_id: str, at: float) -> None:
        """Somebody of this instance has joined a room: it is alive."""
        self._joined_at[service_id] = max(at, self._joined_at.get(service_id, at))

    def decide(self, session: Session, entry: int, now: float) -> ev.InviteStarted | ev.ReplacementHeld:
        """What becomes of an entry whose present attempt came to nothing."""
        service = session.services[entry]
        overdue = service.overdue_since is not None
        if overdue and (self._is_at_work(session, service, now) or not self._patience.is_over(now)):
            return ev.ReplacementHeld(now, entry, service.attempt, now + HOLD * backoff(service.invite_id, 3))
        found = self._somebody(session, entry)
        if overdue and (found is None or found.service_id == service.service_id):
            # Whoever is at work on it knows the invite; whoever was started anew since takes it for a first one.
            return invite_started(self._names, session, entry, attempt=service.attempt, tries=service.tries + 1, at=now)
        if found is None:
            asked_again_at = service.retry_at if service.refused and not service.refused_for_good else now
            return ev.ReplacementHeld(now, entry, service.attempt, max(now, asked_again_at) + HOLD)
        return invite_started(self._names, session, entry, attempt=service.attempt + 1, tries=1, at=now, instead=found)

    def _is_at_work(self, session: Session, service: RequiredService, now: float) -> bool:
        """Late, but its instance joined other rooms a moment ago: it has more to do than it can, and so may others."""
        timeout = session.limits.service_join_timeout
        since = service.overdue_since
        alive = now - self._joined_at.get(service.service_id, -math.inf) < timeout
        return alive and since is not None and now - since < LATE_AT_MOST * timeout

    def _somebody(self, session: Session, entry: int) -> Service | None:
        """An instance that was not tried yet, else another one than this, else this one if it did not refuse."""
        service = session.services[entry]
        others = {other.service_id for index, other in enumerate(session.services) if index != entry}
        this = {service.service_id}
        for excluded in ({*this, *service.failed}, this, this if service.refused else set()):
            found = self._registry.another(service, others | excluded)
            if found is not None:
                return found
        return None
