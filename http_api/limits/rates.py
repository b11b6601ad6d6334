"""Where requests are counted: in this process, or in all replicas together (shared_rates.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

from http_api.limits.gcra import Allowance, Allowances, Rate


class RateCounter(Protocol):
    """Counts the requests of one kind by the name of their sender."""

    async def take(self, name: str) -> Allowance:
        """Count a request of this sender if it is allowed. A refused request costs nothing."""


class LocalRate:
    """Counts the requests to this process."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._allowances = Allowances(rate, clock)

    async def take(self, name: str) -> Allowance:
        return self._allowances.take(name)


@dataclass(frozen=True, slots=True)
class RateLimits:
    principals: RateCounter
    invited: RateCounter
    """By identity: requests with the token of an invite."""
    public: RateCounter
    """By address: requests to public operations."""
    unknown: RateCounter
    """By address: requests to paths that do not exist."""
    failures: RateCounter
    """By address: requests whose authentication failed."""

    @classmethod
    def of(cls, counter: Callable[[str], RateCounter]) -> RateLimits:
        """`counter` makes the counter of a kind, given its name."""
        return cls(*(counter(kind.name) for kind in fields(cls)))
