"""A registered service and how it is doing: may it be invited, and how loaded is it.

PURE. The registry keeps one Instance for each service id.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from manager_agent.registry.circuit_breaker import Breaker
from manager_agent.registry.leases import Lease
from manager_agent.registry.services import RegisteredService

NOMINAL_CAPACITY = 100
"""What an instance that states no capacity is taken to have when loads are compared. It limits nothing."""


class InstanceState(StrEnum):
    HEALTHY = "healthy"
    """is when it may be given sessions, as far as it has room."""
    DRAINING = "draining"
    """is when it finishes the sessions it has, and wants no new ones."""
    SUSPENDED = "suspended"
    """is when it failed again and again: it is left alone for a while (breaker.py)."""
    EXPIRED = "expired"
    """is when its lease is over. A heartbeat makes it healthy again, until it is reaped."""


@dataclass(frozen=True, slots=True)
class Instance:
    service: RegisteredService
    lease: Lease | None = None
    """None: it never expires."""
    draining: bool = False
    load: float | None = None
    """What it last said of itself, 0 to 1."""
    in_flight_then: int = 0
    """The sessions that it had, or was being invited to, when it said so."""
    breaker: Breaker = field(default_factory=Breaker)

    def expired(self, now: float) -> bool:
        return self.lease is not None and now >= self.lease.over_at

    def sound(self, now: float) -> bool:
        """Whether others can lean on it: alive, not draining, and nothing known against it."""
        return not self.expired(now) and not self.draining and self.breaker.closed

    def state(self, now: float, *, last: bool) -> InstanceState:
        """`last`: no other instance of its type is sound, so it is not suspended."""
        if self.expired(now):
            return InstanceState.EXPIRED
        if self.draining:
            return InstanceState.DRAINING
        if not last and not self.breaker.admits(now):
            return InstanceState.SUSPENDED
        return InstanceState.HEALTHY

    def has_room(self, in_flight: int) -> bool:
        return self.service.capacity is None or in_flight < self.service.capacity

    def busy(self, in_flight: int) -> tuple[float, float]:
        """How loaded it is; less is better. What is reserved counts, and what it said if that is more: then with
        what it was given since on top, or everybody would be sent to it until it speaks again."""
        capacity = self.service.capacity or NOMINAL_CAPACITY
        reserved = in_flight / capacity
        if self.load is None:
            return reserved, reserved
        since = max(0, in_flight - self.in_flight_then) / capacity
        return max(self.load + since, reserved), reserved

    def heard(self, now: float, *, load: float | None, draining: bool | None, in_flight: int) -> Instance:
        """After a heartbeat; what it does not say stays as it was."""
        renewed = replace(self, lease=self.lease and self.lease.renewed(now))
        if load is not None:
            renewed = replace(renewed, load=load, in_flight_then=in_flight)
        return renewed if draining is None else replace(renewed, draining=draining)


def registered(service: RegisteredService, before: Instance | None, now: float) -> Instance:
    """The instance that begins with this registration. What failed at the same place before (it may have crashed and
    come back) is not forgotten."""
    lease = None if service.lease_seconds is None else Lease(service.lease_seconds, now)
    same = before is not None and before.service.ref == service.ref
    return Instance(service, lease, breaker=before.breaker if before is not None and same else Breaker())
