"""Whether services that are late to join are at fault, or this machine and its network are.

PURE: the time is given. The policy remembers the latest joins.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from manager_agent.session.session import InstanceRef

LATE_BURST, LATE_INTERVAL = 3, 1.0
"""So many services that are late are given up at once, and then one in so many seconds, of all sessions together, as
long as it may be we who are slow: inviting others would double the load."""
LATE_LOOK = 2.0
"""Seconds within which whoever is late has been looked at (saw_late) again."""
REMEMBERED = 600.0
"""Seconds for which it is known that an instance joined."""
Key = TypeVar("Key", bound=Hashable)


class LateJoinPolicy:
    def __init__(self) -> None:
        self._joined = Latest[InstanceRef](REMEMBERED)
        self._late: dict[InstanceRef, Latest[str]] = {}
        """When each invite that is late was last looked at, for each instance that has any."""
        self._free_at = 0.0

    def saw_join(self, ref: InstanceRef, at: float) -> None:
        """Somebody of this instance joined a room."""
        self._joined.saw(ref, at)

    def saw_late(self, ref: InstanceRef, invite_id: str, now: float) -> None:
        """Nobody of this instance has joined for this invite in time. To be told as long as that is so."""
        self._late.setdefault(ref, Latest(LATE_LOOK)).saw(invite_id, now)
        self._late = {where: late for where, late in self._late.items() if late.count(now)}

    def late(self, ref: InstanceRef, now: float) -> int:
        """How many invites of this instance are late."""
        return self._late[ref].count(now) if ref in self._late else 0

    def is_at_work(self, ref: InstanceRef, since: float) -> bool:
        """Whether somebody of this instance has joined some room since then: it may have more to do than it can."""
        return self._joined.at(ref) > since

    def is_over(self, ref: InstanceRef, due: float, now: float) -> bool:
        """Whether one of this instance, which should have joined by `due`, is given up now."""
        return self._others_are_sound(ref, due, now) or self._is_let_through(now)

    def _others_are_sound(self, ref: InstanceRef, due: float, now: float) -> bool:
        """Whether another instance has joined meanwhile and is late nowhere. Then it is not us."""
        return any(joined > due and not self.late(other, now) for other, joined in self._joined if other != ref)

    def _is_let_through(self, now: float) -> bool:
        """A few at once, and then one in an interval: a leaky bucket (GCRA, ITU-T I.371)."""
        earliest = max(self._free_at, now)
        if earliest - now > (LATE_BURST - 1) * LATE_INTERVAL:
            return False
        self._free_at = earliest + LATE_INTERVAL
        return True


class Latest(Generic[Key]):
    """When each was seen last; who was not seen for `kept` seconds is forgotten."""

    def __init__(self, kept: float) -> None:
        self._kept = kept
        self._at: dict[Key, float] = {}
        self._newest = -math.inf

    def __iter__(self) -> Iterator[tuple[Key, float]]:
        return iter(self._at.items())

    def at(self, key: Key) -> float:
        """Minus infinity if it is not known."""
        return self._at.get(key, -math.inf)

    def saw(self, key: Key, at: float) -> None:
        if at > max(self.at(key), self._newest - self._kept):
            self._at.pop(key, None)  # so that whoever was seen longest ago stands first
            self._at[key] = at
        self.count(at)

    def count(self, now: float) -> int:
        """How many are remembered."""
        self._newest = max(self._newest, now)
        while (first := next(iter(self._at), None)) is not None and self._at[first] <= self._newest - self._kept:
            del self._at[first]
        return len(self._at)
