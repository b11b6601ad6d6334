"""A registered service with its state and load.

PURE. The registry keeps one Instance per service id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

from manager_agent.registry.circuit_breaker import TRIAL_TIMEOUT, Breaker
from manager_agent.registry.leases import Lease
from manager_agent.registry.services import RegisteredService

NOMINAL_CAPACITY = 100
"""The capacity assumed for an instance without one when loads are compared. It limits nothing."""
NO_WORKER_PAUSE = 30.0
"""Seconds for which other instances are preferred to an agent whose dispatch found no worker."""
Rank = tuple[bool, tuple[float, float]]
"""A sort key; less is better: whether it lacked a worker, and its load."""


class InstanceState(StrEnum):
    HEALTHY = "healthy"
    """It may get sessions, up to its capacity."""
    DRAINING = "draining"
    """It finishes its current sessions and gets no new ones."""
    SUSPENDED = "suspended"
    """It failed repeatedly and gets no sessions for a while (circuit_breaker.py)."""
    NO_WORKER = "no_worker"
    """An agent whose last dispatch found no worker. It may get sessions; other instances come first for a while."""
    EXPIRED = "expired"
    """Its lease has expired. A heartbeat makes it healthy again until it is reaped."""


@dataclass(frozen=True, slots=True)
class Instance:
    service: RegisteredService
    lease: Lease | None = None
    """None: it never expires."""
    draining: bool = False
    load: float | None = None
    """The load that it last reported, 0 to 1."""
    in_flight_at_report: int = 0
    """Its sessions and pending invites at the time of that report."""
    breaker: Breaker = field(default_factory=Breaker)
    no_worker_at: float | None = None
    """When a dispatch of this agent last found no worker; None since one was found."""

    def expired(self, now: float) -> bool:
        return self.lease is not None and now >= self.lease.over_at

    def is_older_than(self, saved: Instance) -> bool:
        """Whether `saved`, which has the same id, was registered later, or is the same and has begun to drain since."""
        if self.service.static:
            return False
        has_drained = saved.draining and not self.draining and saved.service == self.service
        return saved.service.registered_at > self.service.registered_at or has_drained

    def is_reliable(self, now: float) -> bool:
        """Whether it can stand in for others: not expired, not draining, not without a worker, breaker closed."""
        is_up = not self.expired(now) and not self.draining and self.no_worker_at is None
        return is_up and self.breaker.closed

    def state(self, now: float, *, last: bool) -> InstanceState:
        """`last`: no other instance of its type is reliable, so it is never suspended."""
        if self.expired(now):
            return InstanceState.EXPIRED
        if self.draining:
            return InstanceState.DRAINING
        if not last and not self.breaker.admits(now):
            return InstanceState.SUSPENDED
        return InstanceState.HEALTHY if self.no_worker_at is None else InstanceState.NO_WORKER

    def lacked_worker(self, now: float) -> bool:
        """Whether a dispatch found no worker so recently that other instances come first."""
        return self.no_worker_at is not None and now < self.no_worker_at + NO_WORKER_PAUSE

    def has_capacity(self, in_flight: int) -> bool:
        return self.service.capacity is None or in_flight < self.service.capacity

    def load_score(self, in_flight: int) -> tuple[float, float]:
        """A sort key of its load; less is better. The used share of its capacity, or its reported load if that is more.

        To the reported load the sessions assigned since are added; otherwise every session would go to the same
        instance until its next report.
        """
        capacity = self.service.capacity or NOMINAL_CAPACITY
        reserved = in_flight / capacity
        if self.load is None:
            return reserved, reserved
        since = max(0, in_flight - self.in_flight_at_report) / capacity
        return max(self.load + since, reserved), reserved

    def rank(self, in_flight: int, now: float) -> Rank | None:
        """Its rank with so many sessions in flight; None if it may get no further one, suspended or not."""
        if self.expired(now) or self.draining or not self.has_capacity(in_flight):
            return None
        return self.lacked_worker(now), self.load_score(in_flight)

    def changes_at(self, now: float) -> float:
        """The next instant at which its state or rank may change although nothing happens; infinity if there is
        none."""
        tried_at, no_worker_at = self.breaker.tried_at, self.no_worker_at
        instants = (
            None if self.lease is None else self.lease.over_at,
            self.breaker.suspended_until,
            None if tried_at is None else tried_at + TRIAL_TIMEOUT,
            None if no_worker_at is None else no_worker_at + NO_WORKER_PAUSE,
        )
        return min((at for at in instants if at is not None and at > now), default=math.inf)

    def after_heartbeat(self, now: float, *, load: float | None, draining: bool | None, in_flight: int) -> Instance:
        """The instance after a heartbeat. None leaves a value unchanged."""
        renewed = replace(self, lease=self.lease and self.lease.renewed(now))
        if load is not None:
            renewed = replace(renewed, load=load, in_flight_at_report=in_flight)
        return renewed if draining is None else replace(renewed, draining=draining)


def registered(service: RegisteredService, before: Instance | None, now: float) -> Instance:
    """The instance after this registration. One at the same address keeps its breaker: it may have crashed and
    restarted."""
    lease = None if service.lease_seconds is None else Lease(service.lease_seconds, now)
    same = before is not None and before.service.ref == service.ref
    return Instance(service, lease, breaker=before.breaker if before is not None and same else Breaker())
