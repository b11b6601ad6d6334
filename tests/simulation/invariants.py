"""What must always hold, and what was found against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Invariant(StrEnum):
    EARLY_TOKEN = "a token before all services were ready"
    STALE_TOKEN = "a token of a state that was over when it was asked for"
    LOST_SESSION = "an acknowledged session was lost"
    EXECUTED_TWICE = "a request that was repeated was executed twice"
    TWO_OWNERS = "a replica acted for the session of another"
    LATE_TAKE_OVER = "sessions of a dead replica were not taken over in time"
    NEEDLESS_TAKE_OVER = "sessions were taken from a replica that was well"
    OVER_CAPACITY = "a service has more sessions than its capacity"
    CALLBACK_LOST = "a callback was lost"
    CALLBACK_ORDER = "callbacks came out of order"
    CALLBACK_TWICE = "a callback was told again by the replica that had told it"
    ROOM_LEFT = "a room was left after the end of its session"
    NO_MANAGER = "a session whose room lost its node was without a manager"
    APART = "a user and a ready service of its session did not see each other"
    NO_END = "a session did not end"


@dataclass(frozen=True, slots=True)
class InvariantViolation:
    invariant: Invariant
    at: float
    """Seconds since the start."""
    about: str

    def __str__(self) -> str:
        return f"{self.at:9.3f} s  {self.invariant}: {self.about}"


def violations_by_kind(violations: Iterable[InvariantViolation]) -> dict[Invariant, list[InvariantViolation]]:
    found: defaultdict[Invariant, list[InvariantViolation]] = defaultdict(list)
    for one in violations:
        found[one.invariant].append(one)
    return dict(found)
