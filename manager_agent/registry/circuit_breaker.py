"""A circuit breaker: an instance that fails again and again is left alone for a while.

PURE. The time is given.

      5 failures in a row              its time is over            the trial fails: n + 1
    closed ------------> suspended ------------------> one trial ------------------------> suspended
       ^                for 30 s x n,                      |
       +----------------- up to 300 s ---------------------+  any success
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FAILURES_MAX = 5
SUSPENSION, SUSPENSION_MAX = 30.0, 300.0
"""Seconds: of the first suspension in a row, and of the longest."""
TRIAL_PATIENCE = 60.0
"""Seconds after which a trial that nobody reported on gives way to another: its session may have been closed."""


@dataclass(frozen=True, slots=True)
class Breaker:
    failures: int = 0
    """In a row."""
    suspensions: int = 0
    """In a row."""
    suspended_until: float | None = None
    """None while it is closed."""
    tried_at: float | None = None
    """When the trial was begun."""

    @property
    def closed(self) -> bool:
        return self.suspended_until is None

    def admits(self, now: float) -> bool:
        """Whether a session may be given to the instance."""
        if self.suspended_until is None:
            return True
        trial_under_way = self.tried_at is not None and now < self.tried_at + TRIAL_PATIENCE
        return now >= self.suspended_until and not trial_under_way

    def chosen(self, now: float) -> Breaker:
        """The instance was given a session: its trial, if one is due."""
        return self if self.closed or not self.admits(now) else replace(self, tried_at=now)

    def failed(self, now: float, *, may_suspend: bool) -> Breaker:
        """After a failure. Those that come while it is suspended were begun before, and say nothing new."""
        if self.suspended_until is not None and now < self.suspended_until:
            return self
        failures = self.failures + 1
        if not may_suspend or (self.closed and failures < FAILURES_MAX):
            return replace(self, failures=failures, tried_at=None)
        suspensions = self.suspensions + 1
        until = now + min(SUSPENSION * suspensions, SUSPENSION_MAX)
        return Breaker(failures, suspensions, until)
