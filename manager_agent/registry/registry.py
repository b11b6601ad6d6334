"""The registered services of this process: they come, are heard of, are chosen, fail, and go.

Here they are kept; instances.py, leases.py and breaker.py say what follows from what is known of them, and roster.py
who is chosen. Every call looks at the time first: that is when leases are over, and the long expired are reaped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import structlog

from manager_agent.clock import Clock
from manager_agent.registry.circuit_breaker import Breaker
from manager_agent.registry.instances import Instance, registered
from manager_agent.registry.leases import AWAY, looked_at, next_due
from manager_agent.registry.selection import InstanceStatus, Selection
from manager_agent.registry.services import OtherInstance, RegisteredService, StaticService, UnknownService
from manager_agent.session.required_service import Attempt, InstanceRef, RequiredService, Requirement

log = structlog.get_logger()


class Registry:
    def __init__(self, clock: Clock, in_use: Callable[[str], int], chance: random.Random | None = None) -> None:
        """`in_use`: the places in live sessions that a service id holds. `chance` decides between equals."""
        self._clock, self._in_use = clock, in_use
        self._chance = chance or random.Random()
        self._instances: dict[str, Instance] = {}
        self._looked_at = self._due = clock()
        self.changed = asyncio.Event()
        """Set when something changes that the next process should know. Whoever keeps it clears it."""

    def __repr__(self) -> str:
        return f"<Registry {', '.join(f'{s.service.service_id} {s.state}' for s in self.statuses())}>"

    def register(self, service: RegisteredService) -> bool:
        """Adds or replaces; True when it is new. Sessions that run keep the invite they made. Raises StaticService."""
        now = self.look().now
        before = self._instances.get(service.service_id)
        if before is not None and before.service.static:
            raise StaticService(service.service_id)
        self._put(registered(service, before, now))
        self.changed.set()
        log.info("service_registered", **service.ref.log_fields, type=service.type, is_new=before is None)
        return before is None

    def heartbeat(
        self, service_id: str, *, load: float | None = None, draining: bool | None = None, endpoint: str | None = None
    ) -> InstanceStatus:
        """A service is alive; what it does not say of itself stays as it was.

        Raises UnknownService, and OtherInstance when `endpoint` is given and not the one registered.
        """
        now = self.look().now
        before = self._meant(service_id, endpoint)
        heard = before.heard(now, load=load, draining=draining, in_flight=self._in_use(service_id))
        self._put(heard)
        if heard.draining is not before.draining:
            log.info("service_draining" if heard.draining else "service_not_draining", service_id=service_id)
            self.changed.set()
        return self.status(service_id)

    def remove(self, service_id: str, *, endpoint: str | None = None) -> InstanceStatus:
        """Takes it out, and returns it as it stood.

        Raises UnknownService, StaticService, and OtherInstance when `endpoint` is given and not the one registered.
        """
        status = self.status(service_id)
        self._meant(service_id, endpoint)
        if status.service.static:
            raise StaticService(service_id)
        self._forget(service_id)
        log.info("service_removed", service_id=service_id)
        return status

    def retire(self, ref: InstanceRef) -> None:
        """It said there that it wants no more invites. It is taken out; if static it drains, until a heartbeat."""
        if (instance := self._at(ref)) is None:
            return
        log.warning("service_retired", **ref.log_fields)
        if instance.service.static:
            self._put(replace(instance, draining=True))
        else:
            self._forget(ref.service_id)

    def restore(self, instances: Iterable[Instance]) -> int:
        """Takes in what an earlier process kept, leases beginning anew; returns how many. Ids that are taken stay."""
        now, count = self.look().now, 0
        for kept in instances:
            if kept.service.service_id not in self._instances:
                self._put(replace(registered(kept.service, None, now), draining=kept.draining))
                count += 1
        return count

    def get(self, service_id: str) -> RegisteredService:
        """Raises UnknownService."""
        return self._meant(service_id).service

    def status(self, service_id: str) -> InstanceStatus:
        """Raises UnknownService."""
        return self.look().status(self._meant(service_id))

    def statuses(self) -> Sequence[InstanceStatus]:
        """Of all, by id."""
        selection = self.look()
        return [selection.status(instance) for _, instance in sorted(self._instances.items())]

    def list(self) -> Sequence[RegisteredService]:
        """All, by id."""
        return [status.service for status in self.statuses()]

    @property
    def instances(self) -> Collection[Instance]:
        return self._instances.values()

    def choose(self, requirements: Sequence[Requirement]) -> tuple[RequiredService, ...]:
        """One service for each requirement, none twice. An optional one that nobody meets is left out.

        Raises NotAvailable, which names every requirement that must be met and is not.
        """
        selection = self.look()
        picked = zip(requirements, selection.pick(requirements, self._chance), strict=True)
        return tuple(RequiredService(asked, Attempt(self.give(one).chosen)) for asked, one in picked if one is not None)

    def another(
        self, service: RequiredService, others: Collection[str], excluded: Collection[InstanceRef] = ()
    ) -> RegisteredService | None:
        """Who may be invited next for this entry of a session (roster.py says who); None if nobody."""
        return self.look().another(service, self._chance, others=others, excluded=excluded)

    def give(self, service_id: str) -> RegisteredService:
        """A registered service is given a session: its trial, if one is due."""
        instance = self._instances[service_id]
        self._put(replace(instance, breaker=instance.breaker.chosen(self._clock())))
        return instance.service

    def report_success(self, ref: InstanceRef) -> None:
        """Whoever was invited there did what it was invited for."""
        if (instance := self._at(ref)) is not None:
            self._put(replace(instance, breaker=Breaker()))

    def report_failure(self, ref: InstanceRef) -> None:
        """It did not. After some in a row it is suspended, unless it is the last sound instance of its type."""
        selection = self.look()
        if (instance := self._at(ref)) is None:
            return
        breaker = instance.breaker.failed(selection.now, may_suspend=not selection.is_last(instance))
        if breaker.suspensions > instance.breaker.suspensions:
            log.warning("service_suspended", **ref.log_fields, failures=breaker.failures, nth=breaker.suspensions)
        self._put(replace(instance, breaker=breaker))

    def look(self) -> Selection:
        """Sees whose lease is over, reaps whose has been for long, and returns all as they now stand. To be called once
        a second also when nothing happens: a longer pause is taken for an absence of ours."""
        before, now = self._looked_at, self._clock()
        self._looked_at = now
        if now >= self._due or now - before > AWAY:
            self._judge(before, now)
        return Selection(self._instances, self._in_use, now)

    def _judge(self, before: float, now: float) -> None:
        leases = {key: one.lease for key, one in self._instances.items() if one.lease is not None}
        running = looked_at(leases, before, now)
        for key, lease in leases.items():
            if key not in running:
                if now >= lease.forgotten_at and not self._instances[key].service.static:
                    log.info("service_reaped", service_id=key)
                    self._forget(key)
                continue
            self._put(replace(self._instances[key], lease=running[key]))
            if now >= running[key].over_at:
                log.warning("service_expired", service_id=key, lease_seconds=lease.seconds)
        held = [key for key, lease in running.items() if lease.held and not leases[key].held]
        if held:
            log.warning("leases_held", services=held, why="most are late at once: we may have been cut off")
        self._due = next_due({**leases, **running}.values(), now)

    def _put(self, instance: Instance) -> None:
        self._instances[instance.service.service_id] = instance
        if instance.lease is not None:
            self._due = min(self._due, instance.lease.over_at)

    def _forget(self, service_id: str) -> None:
        del self._instances[service_id]
        self.changed.set()

    def _meant(self, service_id: str, endpoint: str | None = None) -> Instance:
        instance = self._instances.get(service_id)
        if instance is None:
            raise UnknownService(service_id)
        if endpoint in (None, instance.service.endpoint):
            return instance
        raise OtherInstance(service_id)

    def _at(self, ref: InstanceRef) -> Instance | None:
        """The instance that is registered at this place. One that has moved since answers for itself alone."""
        instance = self._instances.get(ref.service_id)
        return instance if instance is not None and instance.service.ref == ref else None
