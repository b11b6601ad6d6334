"""The limits of what all replicas count together in Redis: live sessions, and the slots of services. PURE.

quotas.py checks the same quotas by what this replica knows, before a request is read; these hold whatever other
replicas do at that moment.
"""

from __future__ import annotations

from collections.abc import Callable

from http_api.access.principals import DEVELOPER
from http_api.errors import Overloaded, TooManySessions
from manager_agent.store.counters import IN_MAKING, LIVE, of_owner, of_service

OWNER, SERVICE = of_owner(""), of_service("")
"""How the counters of a caller and of a service begin."""


class CounterLimits:
    def __init__(self, *, per_caller: int, in_all: int, in_making: int) -> None:
        self._per_caller, self._in_all, self._in_making = per_caller, in_all, in_making
        self.capacity_of: Callable[[str], int | None] = lambda _: None
        """The capacity of a service, by its id; None: it has no limit."""

    def of(self, counter: str) -> int | None:
        """The most that this counter may have; None: any number."""
        if counter.startswith(SERVICE):
            return self.capacity_of(counter.removeprefix(SERVICE))
        if counter.startswith(OWNER):
            return None if counter == OWNER + DEVELOPER.name else self._per_caller
        return {LIVE: self._in_all, IN_MAKING: self._in_making}.get(counter)

    def refusal(self, counter: str) -> Exception:
        """The error for a session that can't be opened because this counter, which is none of a service, is full."""
        if counter.startswith(OWNER):
            return TooManySessions(self._per_caller)
        if counter == IN_MAKING:
            return Overloaded(f"{self._in_making} sessions are already being opened (CREATES_IN_FLIGHT)")
        return Overloaded(f"the server already has {self._in_all} sessions (SESSIONS_MAX)")


def service_of(counter: str) -> str | None:
    """The id of the service whose slots this counter counts; None if it counts something else."""
    return counter.removeprefix(SERVICE) if counter.startswith(SERVICE) else None
