"""The claims of idempotency keys in a simulated Redis, and the responses that are kept there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.event_heap import EventHeap
from tests.simulation.protocol_rules import RULES

if TYPE_CHECKING:
    from tests.simulation.request_handler import ClientReply


@dataclass(frozen=True, slots=True)
class SimulatedClaim:
    key: str
    replica_id: str
    number: int
    """Unlike that of any other claim."""


@dataclass(frozen=True, slots=True)
class KeptResponse:
    reply: ClientReply
    session_id: str


class SimulatedClaims:
    def __init__(self, heap: EventHeap, replaced: Callable[[SimulatedClaim], None]) -> None:
        """`replaced`: called with each claim that another one replaces."""
        self._heap, self._replaced = heap, replaced
        self._claims: dict[str, tuple[SimulatedClaim, float]] = {}
        self._responses: dict[str, tuple[KeptResponse, float]] = {}
        """Each with the instant at which it was written."""

    def take(self, claim: SimulatedClaim, expected: SimulatedClaim | None) -> SimulatedClaim | None:
        """Claim a key that has this claim, or none. Returns the one that is there instead."""
        found, _ = self._claims.get(claim.key, (None, 0.0))
        if found is not None and found != expected:
            return found
        if found is not None:
            self._replaced(found)
        self._claims[claim.key] = claim, self._heap.now
        return None

    def end(self, claim: SimulatedClaim) -> None:
        if self._holds(claim):
            del self._claims[claim.key]

    def permits(self, claim: SimulatedClaim) -> bool:
        """Whether a session may be added under this claim."""
        return self._holds(claim) or not RULES.adds_only_under_a_claim

    def _holds(self, claim: SimulatedClaim) -> bool:
        return self._claims.get(claim.key, (None, 0.0))[0] == claim

    def keep(self, key: str, response: KeptResponse) -> None:
        self._responses.setdefault(key, (response, self._heap.now))

    def kept(self, key: str) -> KeptResponse | None:
        return self._responses.get(key, (None, 0.0))[0]

    def lose(self, since: float = -math.inf) -> None:
        """Redis comes back without what was written since then."""
        self._claims = {key: one for key, one in self._claims.items() if one[1] < since}
        self._responses = {key: one for key, one in self._responses.items() if one[1] < since}
