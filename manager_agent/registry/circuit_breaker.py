"""A circuit breaker: an instance that fails repeatedly gets no sessions for a while.

PURE. Times are passed in.

      5 failures in a row              suspension over             the trial fails: n + 1
    closed ------------> suspended ------------------> one trial ------------------------> suspended
       ^                for 30 s x n,                      |
       +----------------- up to 300 s ---------------------+  any success
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FAILURES_MAX = 5
SUSPENSION, SUSPENSION_MAX = 30.0, 300.0
"""Seconds of the first suspension in a row, and of the longest."""
TRIAL_TIMEOUT = 60.0
"""Seconds after which a trial without a reported outcome is abandoned: its session may have been closed."""


@dataclass(frozen=True, slots=True)
class Breaker:
    failures: int = 0
    """In a row."""
    suspensions: int = 0
    """In a row."""
    suspended_until: float | None = None
    """None while the breaker is closed."""
    tried_at: float | None = None
    """When the trial started."""

    @property
    def closed(self) -> bool:
        return self.suspended_until is None

    def admits(self, now: float) -> bool:
        """Whether the instance may get a session."""
        if self.suspended_until is None:
            return True
        is_trial_running = self.tried_at is not None and now < self.tried_at + TRIAL_TIMEOUT
        return now >= self.suspended_until and not is_trial_running

    def chosen(self, now: float) -> Breaker:
        """After the instance was given a session, which is its trial if one is due."""
        return self if self.closed or not self.admits(now) else replace(self, tried_at=now)

    def failed(self, now: float, *, may_suspend: bool) -> Breaker:
        """After a failure. Ignored while suspended: such an invite was sent before the suspension."""
        if self.suspended_until is not None and now < self.suspended_until:
            return self
        failures = self.failures + 1
        if not may_suspend or (self.closed and failures < FAILURES_MAX):
            return replace(self, failures=failures, tried_at=None)
        suspensions = self.suspensions + 1
        until = now + min(SUSPENSION * suspensions, SUSPENSION_MAX)
        return Breaker(failures, suspensions, until)
