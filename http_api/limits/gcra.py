"""How many requests somebody may send: so many a second, and so many at once. PURE.

The generic cell rate algorithm, as virtual scheduling (ATM Forum, Traffic Management 4.0, AF-TM-0056, 4.4.3; for
requests: https://brandur.org/rate-limiting). All that is kept of somebody is one instant, at which he will have paid
off what he has sent; nothing has to run in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

KNOWN_MAX = 10_000
FORGOTTEN_AT_ONCE = 2
"""More than come in at once, so that those who have paid off are all forgotten in time."""
POLICY = '"default"'
ROUNDING = 1e-6
"""Seconds, and parts of a request: instants since the epoch are not exact."""


@dataclass(frozen=True, slots=True)
class Rate:
    per_second: float
    burst: int
    """So many may come at once from somebody who was silent for `window` seconds."""

    @property
    def interval(self) -> float:
        """Seconds that one request takes to be paid off."""
        return 1 / self.per_second

    @property
    def window(self) -> float:
        return self.burst * self.interval


@dataclass(frozen=True, slots=True)
class Allowance:
    """What somebody has left."""

    rate: Rate
    granted: bool
    """Whether the request that was asked about may pass."""
    debt: float
    """Seconds until all is paid off."""

    @property
    def remaining(self) -> int:
        """So many more may come now."""
        return max(math.floor((self.rate.window - self.debt) / self.rate.interval + ROUNDING), 0)

    @property
    def retry_after(self) -> float:
        """Seconds until the next one may come; 0 if it may come now."""
        return max(self.debt + self.rate.interval - self.rate.window, 0.0)

    def headers(self) -> dict[str, str]:
        """Policy and state, as draft-ietf-httpapi-ratelimit-headers-10 has them. `t` is when all may be used
        again; of a request that is refused, Retry-After."""
        reset = self.debt if self.granted else max(self.retry_after, 1.0)
        return {
            "RateLimit-Policy": f"{POLICY};q={self.rate.burst};w={math.ceil(self.rate.window - ROUNDING)}",
            "RateLimit": f"{POLICY};r={self.remaining};t={math.ceil(reset - ROUNDING)}",
        }


class Allowances:
    """The allowance of everybody, by a name. Of more than `most` in debt, those seen longest ago are forgotten."""

    def __init__(self, rate: Rate, clock: Callable[[], float], most: int = KNOWN_MAX) -> None:
        self._rate, self._clock, self._most = rate, clock, most
        self._paid_off_at: dict[str, float] = {}
        """Whoever was seen last is last."""

    def __len__(self) -> int:
        return len(self._paid_off_at)

    def look(self, name: str) -> Allowance:
        """Whether a request of his would pass now. Counts nothing."""
        debt = max(self._paid_off_at.get(name, -math.inf) - self._clock(), 0.0)
        return Allowance(self._rate, debt + self._rate.interval <= self._rate.window + ROUNDING, debt)

    def take(self, name: str) -> Allowance:
        """Counts a request of his, unless it may not pass: it costs nothing then."""
        before, now = self.look(name), self._clock()
        if not before.granted:
            return before
        self._paid_off_at.pop(name, None)
        self._forget(now)
        debt = before.debt + self._rate.interval
        self._paid_off_at[name] = now + debt
        return Allowance(self._rate, True, debt)

    def _forget(self, now: float) -> None:
        for _ in range(FORGOTTEN_AT_ONCE):
            first = next(iter(self._paid_off_at), None)
            if first is None or (self._paid_off_at[first] > now and len(self._paid_off_at) < self._most):
                return
            del self._paid_off_at[first]


@dataclass(frozen=True, slots=True)
class RateLimits:
    principals: Allowances
    strangers: Allowances
    """By address: for operations that take no proof of who calls, and paths that are none of ours."""
    failures: Allowances
    """By address: for those who did not prove who they are."""

    @classmethod
    def of(cls, rate: Rate, clock: Callable[[], float]) -> RateLimits:
        return cls(Allowances(rate, clock), Allowances(rate, clock), Allowances(rate, clock))
