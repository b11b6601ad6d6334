"""The leases of replicas in a simulated Redis: what lua/renew_lease.lua does, with Redis' clock."""

from __future__ import annotations

from manager_agent.replicas.lease import LEASE, QUIET, ReplicaInfo, Roll

KEPT = 300.0
"""Seconds for which a lease that has lapsed is remembered."""


class SimulatedLeases:
    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        """When each lease ends."""
        self._left: dict[str, float] = {}
        self._told: dict[str, ReplicaInfo] = {}
        self._leader = ""
        self._heard = self._grace_until = 0.0

    def renew(self, told: ReplicaInfo, now: float) -> Roll:
        if now > self._heard + QUIET:
            self._grace_until = now + LEASE
        self._heard = now
        self._ends[told.replica_id], self._told[told.replica_id] = now + LEASE, told
        for kept in (self._ends, self._left):
            for one in [one for one, at in kept.items() if at < now - KEPT]:
                kept.pop(one, None)
                self._told.pop(one, None)
        if self.is_dead(self._leader, now) or (self._leader == told.replica_id and told.is_draining):
            self._leader = ""
        if not self._leader and not told.is_draining:
            self._leader = told.replica_id
        alive = {one: self._told[one] for one, ends in self._ends.items() if ends > now}
        return Roll(alive, frozenset(self._left), self._leader, max(self._grace_until - now, 0.0))

    def leave(self, replica_id: str, now: float) -> None:
        self._ends.pop(replica_id, None)
        self._left[replica_id] = now
        if self._leader == replica_id:
            self._leader = ""

    def is_dead(self, replica_id: str, now: float) -> bool:
        if replica_id in self._left:
            return True
        return self._ends.get(replica_id, 0.0) <= now and now >= self._grace_until
