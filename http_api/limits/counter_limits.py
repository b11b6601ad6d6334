"""The limits of what all replicas count together in Redis: live sessions, and the slots of services. PURE.

quotas.py checks the same quotas by what this replica knows, before a request is read; these hold whatever other
replicas do at that moment.
"""

from __future__ import annotations

from collections.abc import Callable

from http_api.access.principals import DEVELOPER
from http_api.errors import Overloaded, TooManySessions
from manager_agent.store.counters import IN_MAKING, LIVE, CounterLimit, in_making_of, of_owner, of_service

OWNER, OPENED_BY, SERVICE = of_owner(""), in_making_of(""), of_service("")
"""How the counters of a caller and of a service begin."""


class CounterLimits:
    def __init__(self, *, per_caller: int, in_all: int, in_making: int) -> None:
        self._per_caller, self._in_all, self._in_making = per_caller, in_all, in_making
        self.capacity_of: Callable[[str], int | None] = lambda _: None
        """The capacity of a service, by its id; None: it has no limit."""

    def of(self, counter: str) -> CounterLimit | None:
        """None: it may have any number."""
        if counter.startswith(SERVICE):
            capacity = self.capacity_of(counter.removeprefix(SERVICE))
            return None if capacity is None else CounterLimit(capacity)
        if counter in (OWNER + DEVELOPER.name, OPENED_BY + DEVELOPER.name):
            return None
        if counter.startswith(OWNER):
            return CounterLimit(self._per_caller)
        if counter.startswith(OPENED_BY):
            return CounterLimit(self._in_making, less=IN_MAKING)
        most = {LIVE: self._in_all, IN_MAKING: self._in_making}.get(counter)
        return None if most is None else CounterLimit(most)

    def refusal(self, counter: str) -> Exception:
        """The error for a session that can't be opened because this counter, which is none of a service, is full."""
        if counter.startswith(OWNER):
            return TooManySessions(self._per_caller)
        if counter.startswith(OPENED_BY):
            return Overloaded("you are opening as many sessions as there are places left (CREATES_IN_FLIGHT)")
        if counter == IN_MAKING:
            return Overloaded(f"{self._in_making} sessions are already being opened (CREATES_IN_FLIGHT)")
        return Overloaded(f"the server already has {self._in_all} sessions (SESSIONS_MAX)")


def service_of(counter: str) -> str | None:
    """The id of the service whose slots this counter counts; None if it counts something else."""
    return counter.removeprefix(SERVICE) if counter.startswith(SERVICE) else None
