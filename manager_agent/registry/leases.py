"""Leases: how long a service counts as alive though nothing is heard of it.

PURE. A lease is a lower bound: it is never over early, and rather late than soon. Too late costs one invite that
fails, and another instance is asked; too early takes a good instance away. So

- a heartbeat may be late by half a lease, and by 2 s at least (GRACE): it may be on its way, or lie unread here;
- time in which we did not look, as this process was suspended or its loop was blocked, does not count (AWAY);
- if most leases are late at the moment one of them would be over, it is likelier that we were cut off than that they
  all died: they begin anew, once, so that heartbeats have time to come again. The grace is what makes that moment
  come after everybody is late: it is as long as the longest pause between two heartbeats should be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

GRACE_SHARE = 0.5
"""Of a lease, for a heartbeat that is late."""
GRACE_MIN = 2.0
AWAY = 2.0
"""Seconds between two looks from which on we had not been looking; a shorter pause is within every grace."""
EXPIRED_KEPT = 300.0
"""Seconds for which an expired service is still shown, and needs but a heartbeat to be back."""


@dataclass(frozen=True, slots=True)
class Lease:
    seconds: float
    since: float
    """When it began, or was renewed."""
    held: bool = False
    """It began anew because most others were late too; only being heard of makes that possible again."""

    @property
    def expires_at(self) -> float:
        """Nobody gives it up before."""
        return self.since + self.seconds

    @property
    def over_at(self) -> float:
        """With the grace."""
        return self.expires_at + max(GRACE_MIN, GRACE_SHARE * self.seconds)

    @property
    def forgotten_at(self) -> float:
        return self.over_at + EXPIRED_KEPT

    def renewed(self, now: float) -> Lease:
        return Lease(self.seconds, now)


def looked_at(leases: Mapping[str, Lease], before: float, now: float) -> dict[str, Lease]:
    """The leases that were running at the last look, `before`, as they are to be seen `now`, by the same keys.

    A lease is over when `over_at` has come. One that was over at the last look is left out: it stays so.
    """
    away = now - before if now - before > AWAY else 0.0
    running = {
        key: replace(lease, since=lease.since + away) if away else lease
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
    """The next instant at which there is something to be seen, unless a lease is renewed before."""
    return min((at for one in leases for at in (one.over_at, one.forgotten_at) if at > now), default=math.inf)
