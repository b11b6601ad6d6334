"""Decides whether services that are late to join are at fault, or this machine and its network.

PURE: times are passed in. The policy remembers the latest joins.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from manager_agent.session.attempt import InstanceRef

LATE_BURST, LATE_INTERVAL = 3, 1.0
"""While the delay may be our own fault, LATE_BURST late services of all sessions are given up at once, then one every
LATE_INTERVAL seconds: inviting replacements for all would double the load."""
LATE_REPORT_MAX = 2.0
"""Seconds after its last record_late for which an invite counts as late."""
REMEMBERED = 600.0
"""Seconds for which the join of an instance is remembered."""
Key = TypeVar("Key", bound=Hashable)


class LateJoinPolicy:
    def __init__(self) -> None:
        self._joined = Latest[InstanceRef](REMEMBERED)
        self._late: dict[InstanceRef, Latest[str]] = {}
        """For each instance with late invites: the time of the last record_late of each invite."""
        self._free_at = 0.0

    def record_join(self, ref: InstanceRef, at: float) -> None:
        """The instance joined a room."""
        self._joined.record(ref, at)

    def record_late(self, ref: InstanceRef, invite_id: str, now: float) -> None:
        """The instance has not joined for this invite in time. Call it repeatedly while that is so."""
        self._late.setdefault(ref, Latest(LATE_REPORT_MAX)).record(invite_id, now)
        self._late = {where: late for where, late in self._late.items() if late.count(now)}

    def late_count(self, ref: InstanceRef, now: float) -> int:
        """The number of late invites of this instance."""
        return self._late[ref].count(now) if ref in self._late else 0

    def has_joined_since(self, ref: InstanceRef, since: float) -> bool:
        """Whether the instance has joined any room since then: it is alive, though perhaps overloaded."""
        return self._joined.at(ref) > since

    def gives_up(self, ref: InstanceRef, due: float, now: float) -> bool:
        """Whether to give up now on this instance, which should have joined by `due`."""
        return self._is_other_on_time(ref, due, now) or self._is_within_rate(now)

    def _is_other_on_time(self, ref: InstanceRef, due: float, now: float) -> bool:
        """Whether another instance has joined after `due` and is not late itself: then the fault is not ours."""
        return any(joined > due and not self.late_count(other, now) for other, joined in self._joined if other != ref)

    def _is_within_rate(self, now: float) -> bool:
        """A burst, then one per interval: a leaky bucket (GCRA, ITU-T I.371)."""
        earliest = max(self._free_at, now)
        if earliest - now > (LATE_BURST - 1) * LATE_INTERVAL:
            return False
        self._free_at = earliest + LATE_INTERVAL
        return True


class Latest(Generic[Key]):
    """The latest time recorded for each key. Keys not recorded for `kept` seconds are dropped."""

    def __init__(self, kept: float) -> None:
        self._kept = kept
        self._at: dict[Key, float] = {}
        self._newest = -math.inf

    def __iter__(self) -> Iterator[tuple[Key, float]]:
        return iter(self._at.items())

    def at(self, key: Key) -> float:
        """The latest time of the key; minus infinity if there is none."""
        return self._at.get(key, -math.inf)

    def record(self, key: Key, at: float) -> None:
        if at > max(self.at(key), self._newest - self._kept):
            self._at.pop(key, None)  # keep the dict ordered by time, oldest first
            self._at[key] = at
        self.count(at)

    def count(self, now: float) -> int:
        """Drop old keys; returns how many remain."""
        self._newest = max(self._newest, now)
        while (first := next(iter(self._at), None)) is not None and self._at[first] <= self._newest - self._kept:
            del self._at[first]
        return len(self._at)
