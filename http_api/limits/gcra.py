"""Rate limiting: a number of requests per second, and a burst. PURE.

The generic cell rate algorithm in its virtual scheduling form (ATM Forum, Traffic Management 4.0, AF-TM-0056, 4.4.3;
for requests: https://brandur.org/rate-limiting). The only state per client is one instant: when its requests so far are
paid off. No background task is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from manager_agent.frozen import Frozen

KNOWN_MAX = 10_000
FORGOTTEN_AT_ONCE = 2
"""Entries removed per request at most. More than the one entry that a request adds, so that paid-off entries never pile
up."""
POLICY = '"default"'
ROUNDING = 1e-6
"""Tolerance in seconds, and in fractions of a request: instants since the epoch are not exact floats."""


@dataclass(frozen=True)
class Rate:
    per_second: float
    burst: int
    """The requests allowed at once after `window` seconds without any."""

    @cached_property
    def interval(self) -> float:
        """Seconds until one request is paid off."""
        return 1 / self.per_second

    @cached_property
    def window(self) -> float:
        return self.burst * self.interval

    @cached_property
    def policy(self) -> str:
        """It, as the header RateLimit-Policy has it."""
        return f"{POLICY};q={self.burst};w={math.ceil(self.window - ROUNDING)}"


class Allowance(Frozen):
    """What one client has left."""

    rate: Rate
    granted: bool
    """Whether the request in question is allowed."""
    debt: float
    """Seconds until all requests so far are paid off."""

    @property
    def remaining(self) -> int:
        """The number of further requests allowed now."""
        return max(math.floor((self.rate.window - self.debt) / self.rate.interval + ROUNDING), 0)

    @property
    def retry_after(self) -> float:
        """Seconds until the next request is allowed; 0 if it is allowed now."""
        return max(self.debt + self.rate.interval - self.rate.window, 0.0)

    def headers(self) -> dict[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers-10: policy and state. `t` is the seconds until the full
        burst is available again; for a refused request it equals Retry-After."""
        reset = self.debt if self.granted else max(self.retry_after, 1.0)
        return {
            "RateLimit-Policy": self.rate.policy,
            "RateLimit": f"{POLICY};r={self.remaining};t={math.ceil(reset - ROUNDING)}",
        }


class Allowances:
    """The allowances of all clients, by name. When more than `most` are in debt, the least recently seen are
    forgotten."""

    def __init__(self, rate: Rate, clock: Callable[[], float], most: int = KNOWN_MAX) -> None:
        self._rate, self._clock, self._most = rate, clock, most
        self._paid_off_at: dict[str, float] = {}
        """Ordered by when each was last seen, most recent last."""

    def __len__(self) -> int:
        return len(self._paid_off_at)

    def look(self, name: str) -> Allowance:
        """Whether a request of this client would be allowed now. Counts nothing."""
        debt = self._debt(name, self._clock())
        return Allowance(self._rate, self._grants(debt), debt)

    def take(self, name: str) -> Allowance:
        """Count a request of this client if it is allowed. A refused request costs nothing."""
        debt = self._debt(name, now := self._clock())
        if not self._grants(debt):
            return Allowance(self._rate, False, debt)
        self._paid_off_at.pop(name, None)
        self._forget(now)
        debt += self._rate.interval
        self._paid_off_at[name] = now + debt
        return Allowance(self._rate, True, debt)

    def _debt(self, name: str, now: float) -> float:
        return max(self._paid_off_at.get(name, now) - now, 0.0)

    def _grants(self, debt: float) -> bool:
        return debt + self._rate.interval <= self._rate.window + ROUNDING

    def _forget(self, now: float) -> None:
        for _ in range(FORGOTTEN_AT_ONCE):
            first = next(iter(self._paid_off_at), None)
            if first is None or (self._paid_off_at[first] > now and len(self._paid_off_at) < self._most):
                return
            del self._paid_off_at[first]
