"""Quotas on concurrent sessions: per caller, in total, and of those whose room is being created."""

from __future__ import annotations

from http_api.access.principals import DEVELOPER
from http_api.errors import Overloaded, TooManySessions
from manager_agent.session.counts import SessionCounts


class Quotas:
    def __init__(self, counts: SessionCounts, *, per_caller: int, in_all: int, in_making: int) -> None:
        self._counts = counts
        self._per_caller, self._in_all, self._in_making = per_caller, in_all, in_making

    def check(self, owner: str) -> None:
        """Check that another session may be opened for this caller. Raises TooManySessions, Overloaded.

        A session opened right after this call, without an await in between, can't exceed the quotas.
        """
        if owner != DEVELOPER.name and self._counts.live_of(owner) >= self._per_caller:
            raise TooManySessions(self._per_caller)
        if self._counts.live >= self._in_all:
            raise Overloaded(f"the server already has {self._in_all} sessions (SESSIONS_MAX)")
        if self._counts.in_making >= self._in_making:
            raise Overloaded(f"{self._in_making} sessions are already being opened (CREATES_IN_FLIGHT)")
