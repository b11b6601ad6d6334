"""Leases: how long a service counts as alive without a heartbeat.

PURE. A lease is a lower bound: it never ends early, but may end late. Ending too late costs one failed invite, after
which another instance is invited; ending too early loses a good instance. Therefore

- a heartbeat may be late by half a lease, at least 2 s (GRACE): it may be on its way, or waiting here to be read;
- time in which this process did not check leases, because it was suspended or its loop was blocked, does not count
  (ABSENCE_MIN);
- if most leases are late when the first of them would end, a network failure on our side is more likely than the death
  of all these services: their leases restart, once, so that heartbeats can arrive again. The grace ensures that by then
  all of them are late: it is as long as the longest pause between two heartbeats should be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

GRACE_SHARE = 0.5
"""Share of a lease by which a heartbeat may be late."""
GRACE_MIN = 2.0
ABSENCE_MIN = 2.0
"""Seconds between two checks from which the time counts as our absence; every grace covers shorter pauses."""
EXPIRED_KEPT = 300.0
"""Seconds for which an expired service is still listed, and revived by a heartbeat."""


@dataclass(frozen=True, slots=True)
class Lease:
    seconds: float
    since: float
    """When it started, or was last renewed."""
    held: bool = False
    """It was restarted because most leases were late. Not again before a heartbeat."""

    @property
    def expires_at(self) -> float:
        """The end without the grace."""
        return self.since + self.seconds

    @property
    def over_at(self) -> float:
        """The end with the grace: from here on the service counts as expired."""
        return self.expires_at + max(GRACE_MIN, GRACE_SHARE * self.seconds)

    @property
    def reaped_at(self) -> float:
        return self.over_at + EXPIRED_KEPT

    def renewed(self, now: float) -> Lease:
        return Lease(self.seconds, now)


def checked(leases: Mapping[str, Lease], before: float, now: float) -> dict[str, Lease]:
    """The leases that were running at the last check, at `before`, as they count `now`, by the same keys.

    A lease is over from `over_at` on. Leases that were over at the last check are left out: they stay over.
    """
    absence = now - before if now - before > ABSENCE_MIN else 0.0
    running = {
        key: replace(lease, since=lease.since + absence) if absence else lease
        for key, lease in leases.items()
        if lease.over_at > before
    }
    late = {key for key, lease in running.items() if lease.expires_at <= now}
    if len(late) < 2 or 2 * len(late) <= len(running) or all(running[key].over_at > now for key in late):
        return running
    return {
        key: replace(lease, since=now, held=True) if key in late and not lease.held else lease
        for key, lease in running.items()
    }


def next_due(leases: Iterable[Lease], now: float) -> float:
    """The next instant at which a lease ends or is reaped, unless it is renewed before."""
    return min((at for one in leases for at in (one.over_at, one.reaped_at) if at > now), default=math.inf)
