"""The registered services of this process: registration, heartbeats, selection, failures, removal.

It holds the state; instances.py, leases.py and circuit_breaker.py compute its changes, service_index.py keeps the
instances in order, selection.py selects from them.
Every call first checks the leases: expired services are marked, long expired ones reaped. Other replicas tell of their
registrations (shared_registrations.py) and heartbeats (shared_heartbeats.py); failures are counted by each for itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice

import structlog

from manager_agent.clock import Clock
from manager_agent.registry.circuit_breaker import Breaker
from manager_agent.registry.instances import Instance, registered
from manager_agent.registry.leases import ABSENCE_MIN, EXPIRED_KEPT, checked, next_due
from manager_agent.registry.selection import InstanceStatus, Selection
from manager_agent.registry.service_index import LiveUses, ServiceIndex
from manager_agent.registry.services import OtherInstance, RegisteredService, StaticService, UnknownService
from manager_agent.session.attempt import Attempt, InstanceRef
from manager_agent.session.required_service import RequiredService, Requirement

log = structlog.get_logger()


class Registry:
    def __init__(
        self,
        clock: Clock,
        uses: LiveUses,
        chance: random.Random | None = None,
        *,
        may_reap: Callable[[], bool] = lambda: True,
        hears_all: Callable[[], bool] = lambda: True,
    ) -> None:
        """`uses`: how many live sessions use each service. `chance` decides between equal instances. `may_reap`:
        whether this process removes services and says that they expired; another one of the deployment may.
        `hears_all`: whether it learns of all heartbeats at the moment; leases stand still while it does not."""
        self._clock, self._may_reap, self._hears_all = clock, may_reap, hears_all
        self._chance = chance or random.Random()
        self._index = ServiceIndex(uses)
        self._instances = self._index.instances
        self._checked_at = self._due = clock()
        self._reaps_from = -math.inf
        self._still_since: float | None = None
        """Since when leases stand still that were not moved on yet; None: they run."""
        self._keep: Callable[[str, Instance | None], None] = lambda _service_id, _instance: None
        self._earliest: Callable[[str], float] = lambda _service_id: 0.0
        self._spread: Callable[[Instance], None] = lambda _instance: None

    def __repr__(self) -> str:
        return f"<Registry {', '.join(f'{s.service.service_id} {s.state}' for s in self.statuses())}>"

    def keep_with(
        self, keep: Callable[[str, Instance | None], None], earliest: Callable[[str], float] | None = None
    ) -> None:
        """Have every change that has to survive the process kept by this function: the service id, and its instance;
        None if it was removed. `earliest`: the first instant of a registration of this id that is later than those
        before, by whichever clocks they were."""
        self._keep = keep
        self._earliest = earliest or self._earliest

    def spread_heartbeats_with(self, spread: Callable[[Instance], None]) -> None:
        """Have every heartbeat told to this function: the instance after it."""
        self._spread = spread

    def register(self, service: RegisteredService) -> bool:
        """Add or replace a service. Returns whether it is new. Running sessions keep their invites. Raises
        StaticService."""
        now = self.refresh().now
        before = self._instances.get(service.service_id)
        if before is not None and before.service.static:
            raise StaticService(service.service_id)
        if (earliest := self._earliest(service.service_id)) > service.registered_at:
            service = replace(service, registered_at=earliest)
        after = registered(service, before, now)
        self._put(after)
        self._keep(service.service_id, after)
        log.info("service_registered", **service.ref.log_fields, type=service.type, is_new=before is None)
        return before is None

    def heartbeat(
        self, service_id: str, *, load: float | None = None, draining: bool | None = None, endpoint: str | None = None
    ) -> InstanceStatus:
        """Renew a service's lease. None leaves a value unchanged.

        Raises UnknownService, and OtherInstance if `endpoint` is given and differs from the registered one.
        """
        now = self.refresh().now
        before = self._find(service_id, endpoint)
        after = before.after_heartbeat(now, load=load, draining=draining, in_flight=self._index.in_use(service_id))
        self._put(after)
        if after.draining is not before.draining:
            log.info("service_draining" if after.draining else "service_not_draining", service_id=service_id)
            self._keep(service_id, after)
        self._spread(after)
        return self.status(service_id)

    def remove(self, service_id: str, *, endpoint: str | None = None) -> InstanceStatus:
        """Remove a service and return its last status.

        Raises UnknownService, StaticService, and OtherInstance if `endpoint` is given and differs from the registered
        one.
        """
        status = self.status(service_id)
        self._find(service_id, endpoint)
        if status.service.static:
            raise StaticService(service_id)
        self._delete(service_id)
        log.info("service_removed", service_id=service_id)
        return status

    def retire(self, ref: InstanceRef) -> None:
        """Remove an instance that asked for no further invites. A static one drains instead, until a heartbeat."""
        if (instance := self._instance_at(ref)) is None:
            return
        log.warning("service_retired", **ref.log_fields)
        if instance.service.static:
            self._put(draining := replace(instance, draining=True))
            self._keep(ref.service_id, draining)
        else:
            self._delete(ref.service_id)

    def restore(self, instances: Iterable[Instance]) -> int:
        """Add instances saved by an earlier process, with new leases. Registered ids keep their instance, with a new
        lease too, unless it was registered earlier than the saved one. Returns how many were added."""
        now, count = self.refresh().now, 0
        for saved in instances:
            here = self._instances.get(saved.service.service_id)
            if here is None or here.is_older_than(saved):
                self._put(replace(registered(saved.service, here, now), draining=saved.draining))
                count += 1
            elif here.service == saved.service and here.lease is not None:
                self._put(replace(here, lease=here.lease.renewed(now)))
        return count

    def adopt(self, service: RegisteredService, *, draining: bool) -> None:
        """Another replica has registered this service, or it drains, or drains no more. A static one stays as it is."""
        now = self.refresh().now
        here = self._instances.get(service.service_id)
        if here is None or not here.service.static:
            after = here if here is not None and here.service == service else registered(service, here, now)
            self._put(replace(after, draining=draining))

    def adopt_drain(self, service_id: str, *, draining: bool) -> None:
        """At another replica this static service drains, or drains no more."""
        here = self._instances.get(service_id)
        if here is not None and here.service.static:
            self._put(replace(here, draining=draining))

    def adopt_heartbeat(self, service_id: str, *, load: float | None, in_flight: int) -> None:
        """Another replica got a heartbeat. One of a service that is not known here has no effect."""
        now = self.refresh().now
        if (before := self._instances.get(service_id)) is not None:
            self._put(before.after_heartbeat(now, load=load, draining=None, in_flight=in_flight))

    def adopt_removal(self, service_id: str) -> None:
        """Another replica has removed this service. A static one stays."""
        here = self._instances.get(service_id)
        if here is not None and not here.service.static:
            self._index.remove(service_id)

    def get(self, service_id: str) -> RegisteredService:
        """Raises UnknownService."""
        return self._find(service_id).service

    def has(self, service: RegisteredService) -> bool:
        """Whether it is registered, and just so."""
        here = self._instances.get(service.service_id)
        return here is not None and here.service == service

    def status(self, service_id: str) -> InstanceStatus:
        """Raises UnknownService."""
        return self.refresh().status(self._find(service_id))

    def statuses(self) -> Sequence[InstanceStatus]:
        """The status of every service, sorted by id."""
        selection = self.refresh()
        return [selection.status(instance) for _, instance in sorted(self._instances.items())]

    def list(self) -> Sequence[RegisteredService]:
        """All services, sorted by id."""
        return [status.service for status in self.statuses()]

    def named(self, names: Iterable[str], owner: str) -> Sequence[RegisteredService]:
        """The services that sessions of this caller may use and that have one of these names: as their id, as their
        agent name, or as their type, of which it is one of them. Sorted by id."""
        self.refresh()
        found = dict[str, RegisteredService]()
        for name in names:
            by_id = [self._instances[name].service] if name in self._instances else []
            by_type = [self._instances[service_id].service for service_id in islice(self._index.ids(name, owner), 1)]
            for service in (*by_id, *by_type, *self._index.of_agent(name)):
                if service.serves(owner):
                    found[service.service_id] = service
        return [service for _, service in sorted(found.items())]

    def of_agent(self, agent_name: str) -> Iterable[RegisteredService]:
        """The services with this agent name, of all callers."""
        return self._index.of_agent(agent_name)

    def owned_by(self, owner: str) -> int:
        """The number of services that this caller has registered."""
        return self._index.owned_by(owner)

    def __contains__(self, service_id: str) -> bool:
        return service_id in self._instances

    @property
    def count(self) -> int:
        return len(self._instances)

    @property
    def instances(self) -> Collection[Instance]:
        return self._instances.values()

    def choose(
        self, requirements: Sequence[Requirement], owner: str = "", *, full: Collection[str] = ()
    ) -> tuple[RequiredService, ...]:
        """Select one service for each requirement of this caller, none twice. Unmet optional requirements are left out.
        `full`: the ids of services that have no capacity left, whatever is known of them here.

        Raises NotAvailable, which names every unmet mandatory requirement.
        """
        selection = self.refresh()
        picked = zip(requirements, selection.pick(requirements, self._chance, owner=owner, full=full), strict=True)
        return tuple(
            RequiredService(asked, Attempt(self.assign(one).chosen)) for asked, one in picked if one is not None
        )

    def another(
        self,
        service: RequiredService,
        others: Collection[str],
        excluded: Collection[InstanceRef] = (),
        *,
        owner: str = "",
    ) -> RegisteredService | None:
        """The service to invite next for this entry of one of this caller's sessions, as Selection.another selects it;
        None if there is none."""
        return self.refresh().another(service, self._chance, owner=owner, others=others, excluded=excluded)

    def assign(self, service_id: str) -> RegisteredService:
        """Record that a service gets a session, which is its trial if one is due."""
        instance = self._instances[service_id]
        if (breaker := instance.breaker.chosen(self._clock())) is not instance.breaker:
            self._put(replace(instance, breaker=breaker))
        return instance.service

    def report_success(self, ref: InstanceRef) -> None:
        """An invited instance became ready: close its breaker."""
        if (instance := self._instance_at(ref)) is not None:
            self._put(replace(instance, breaker=Breaker(), no_worker_at=None))

    def report_no_worker(self, ref: InstanceRef) -> None:
        """A dispatch of this agent found no worker."""
        if (instance := self._instance_at(ref)) is not None:
            self._put(replace(instance, no_worker_at=self._clock()))

    def report_worker(self, ref: InstanceRef) -> None:
        """A dispatch of this agent found a worker."""
        if (instance := self._instance_at(ref)) is not None and instance.no_worker_at is not None:
            self._put(replace(instance, no_worker_at=None))

    def report_failure(self, ref: InstanceRef) -> None:
        """An invited instance failed. After several failures in a row it is suspended, unless it is the last reliable
        instance of its type."""
        selection = self.refresh()
        if (instance := self._instance_at(ref)) is None:
            return
        breaker = instance.breaker.failed(selection.now, may_suspend=not selection.is_last(instance))
        if breaker.suspensions > instance.breaker.suspensions:
            log.warning("service_suspended", **ref.log_fields, failures=breaker.failures, nth=breaker.suspensions)
        self._put(replace(instance, breaker=breaker))

    def refresh(self) -> Selection:
        """Check the leases, reap long expired services, and return the current instances.

        Call it once a second even when nothing happens: a longer pause counts as our own absence.
        """
        before, now = self._checked_at, self._clock()
        self._checked_at = now
        if not self._may_reap():
            self._reaps_from = now + EXPIRED_KEPT
        if self._hears_all():
            self._move_on(before, None)
        else:
            self._still_since = before if self._still_since is None else self._still_since
            if now >= self._due:  # one would end
                self._move_on(now, now)
            before = now
        if now >= self._due or now - before > ABSENCE_MIN:
            self._check_leases(before, now)
        self._index.advance(now)
        return Selection(self._index, now)

    def _move_on(self, until: float, still_since: float | None) -> None:
        """Add to the leases the time for which they stood still. That takes a while with many, so it is not done before
        it makes a difference. `still_since`: since when they stand still now."""
        since, self._still_since = self._still_since, still_since
        if since is None:
            return
        for instance in list(self._instances.values()):
            lease = instance.lease
            if lease is not None and lease.over_at > since:
                stood = until - max(since, lease.since)
                self._put(replace(instance, lease=replace(lease, since=lease.since + stood)))

    def _check_leases(self, before: float, now: float) -> None:
        leases = {key: one.lease for key, one in self._instances.items() if one.lease is not None}
        running, withheld = checked(leases, before, now), math.inf
        for key, lease in leases.items():
            if key not in running:
                if now < lease.reaped_at or self._instances[key].service.static:
                    continue
                if now < self._reaps_from:
                    withheld = self._reaps_from
                    continue
                log.info("service_reaped", service_id=key)
                self._delete(key)
                continue
            if running[key] is not lease:
                self._put(replace(self._instances[key], lease=running[key]))
            if now >= running[key].over_at and self._may_reap():
                log.warning("service_expired", service_id=key, lease_seconds=lease.seconds)
        held = [key for key, lease in running.items() if lease.held and not leases[key].held]
        if held:
            log.warning("leases_held", services=held, why="most leases are late at once: our network may have failed")
        self._due = min(next_due({**leases, **running}.values(), now), withheld)

    def _put(self, instance: Instance) -> None:
        self._index.put(instance)
        if instance.lease is not None:
            self._due = min(self._due, instance.lease.over_at)

    def _delete(self, service_id: str) -> None:
        self._index.remove(service_id)
        self._keep(service_id, None)

    def _find(self, service_id: str, endpoint: str | None = None) -> Instance:
        instance = self._instances.get(service_id)
        if instance is None:
            raise UnknownService(service_id)
        if endpoint in (None, instance.service.endpoint):
            return instance
        raise OtherInstance(service_id)

    def _instance_at(self, ref: InstanceRef) -> Instance | None:
        """The instance registered with exactly this address; None if the service has moved since."""
        instance = self._instances.get(ref.service_id)
        return instance if instance is not None and instance.service.ref == ref else None
