"""How long a replica may act, and which replicas are dead. PURE.

Each replica renews its lease in Redis once a second, by Redis' clock. It may act for the length of the lease after the
instant at which it sent the renewal, by its own monotonic clock: that ends before the lease in Redis does. So one that
was frozen knows at once, without asking, that it may not act. It acts again once it has renewed its lease and learned
which sessions others have taken over meanwhile: none is taken over from a replica that has a lease.

If no replica was heard for a while, Redis was away, or its clock was set. Then none is judged dead for one lease, so
that those that are alive can renew theirs (lua/liveness.lua).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

LEASE = 6.0
"""Seconds from one renewal for which a replica counts as alive."""
INTERVAL = 1.0
"""Seconds between two renewals."""
GUARD = 0.5
"""Seconds by which a replica stops acting before its lease ends: what it sent last is on its way so long."""
QUIET = 2.5
"""Seconds in which no replica was heard, after which Redis counts as having been away."""


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What a replica tells about itself."""

    replica_id: str
    address: str = ""
    """At which other replicas and operators reach its API; empty: it does not say."""
    version: str = ""
    is_draining: bool = False
    """It hands its sessions over and takes none."""
    can_take: bool = True
    """Whether its managers can join rooms: LiveKit knows it."""
    sessions: int = 0
    """The live sessions for which it acts."""


@dataclass(frozen=True, slots=True)
class Roll:
    """All replicas, as one answer of Redis has them."""

    alive: Mapping[str, ReplicaInfo] = field(default_factory=dict)
    """By id."""
    left: frozenset[str] = frozenset()
    """Those that said that they stop."""
    leader: str = ""
    """The one that does what only one replica may do; empty: there is none at the moment."""
    grace: float = 0.0
    """Seconds for which no replica is judged dead because its lease has lapsed."""
    awaited: Mapping[str, ReplicaInfo] = field(default_factory=dict)
    """By id: those whose leases lapsed while Redis was away, and that may renew them still."""

    @property
    def known(self) -> Mapping[str, ReplicaInfo]:
        """By id: those that are alive, or awaited."""
        return {**self.awaited, **self.alive}

    def after(self, before: Roll) -> Roll:
        """This one, knowing who is awaited since an earlier one."""
        awaited = {one: info for one, info in before.known.items() if one not in self.alive and not self.is_dead(one)}
        return replace(self, awaited=awaited)

    def is_dead(self, replica_id: str) -> bool:
        """Whether others act for the sessions of this replica, which may be unknown or empty."""
        if replica_id in self.alive:
            return False
        return replica_id in self.left or self.grace <= 0

    @property
    def receivers(self) -> list[ReplicaInfo]:
        """The replicas to which sessions may be handed over, by their ids: those that don't drain, and of them those
        whose managers can join, if there are any."""
        staying = [self.alive[one] for one in sorted(self.alive) if not self.alive[one].is_draining]
        return [one for one in staying if one.can_take] or staying

    @property
    def takers(self) -> list[ReplicaInfo]:
        """The replicas that take over the sessions of dead ones, by their ids: all of them if all drain."""
        return self.receivers or [self.alive[one] for one in sorted(self.alive)]


@dataclass(frozen=True, slots=True)
class ReplicaLease:
    """What one replica knows about its own lease. All instants are of its monotonic clock, in seconds."""

    seconds: float = LEASE
    guard: float = GUARD
    renewed_at: float = -math.inf
    """When it sent the latest renewal that Redis answered."""
    regained_at: float = math.inf
    """When it had the lease again after it had lapsed, or for the first time; infinity: it never had one."""
    informed_at: float = -math.inf
    """It knows everything that other replicas had done by then."""

    @property
    def ends_at(self) -> float:
        """When it may not act any more unless it renews its lease before."""
        return self.renewed_at + self.seconds - self.guard

    @property
    def is_informed(self) -> bool:
        """Whether it knows what others did while it had no lease. Since then they take nothing from it."""
        return self.informed_at >= self.regained_at

    def is_held(self, now: float) -> bool:
        return now < self.ends_at

    def may_act(self, now: float) -> bool:
        return self.is_informed and self.is_held(now)

    def renewed(self, sent_at: float, answered_at: float) -> ReplicaLease:
        """Redis renewed it at some instant between the two."""
        regained_at = self.regained_at if self.is_held(answered_at) else answered_at
        return replace(self, renewed_at=max(sent_at, self.renewed_at), regained_at=regained_at)

    def informed(self, asked_at: float) -> ReplicaLease:
        """It asked at `asked_at` what others have done, and knows it now."""
        return replace(self, informed_at=max(asked_at, self.informed_at))

    def ended(self) -> ReplicaLease:
        """It acts no more."""
        return ReplicaLease(self.seconds, self.guard)


def changes(before: Roll, after: Roll) -> Iterable[tuple[str, ReplicaInfo]]:
    """What became of other replicas: `joined`, `left` or `lapsed`, and which one. A lease that only lapsed because
    Redis was away is none of these, if it is renewed."""
    known = before.known
    for replica_id, one in after.alive.items():
        if replica_id not in known:
            yield "joined", one
    for replica_id, one in known.items():
        if after.is_dead(replica_id):
            yield "left" if replica_id in after.left else "lapsed", one
