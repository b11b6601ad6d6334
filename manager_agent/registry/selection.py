"""All registered services at one instant: the state of each, and which may be invited for a requirement.

PURE: the time and the random generator that decides between equal instances are passed in.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.matching import assign, by_importance
from manager_agent.registry.services import NotAvailable, RegisteredService, Unmet
from manager_agent.session.attempt import InstanceRef, ServiceReason
from manager_agent.session.required_service import RequiredService, Requirement

Rank = tuple[bool, tuple[float, float]]
"""A sort key; less is better: whether it lacked a worker, and its load."""
ADMITTING = frozenset({InstanceState.HEALTHY, InstanceState.NO_WORKER})
"""The states in which an instance may get sessions."""


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """The current status of one instance."""

    instance: Instance
    state: InstanceState
    in_flight: int
    """Live sessions that it is in or is being invited to."""

    @property
    def service(self) -> RegisteredService:
        return self.instance.service


@dataclass(frozen=True)
class Selection:
    """Valid until an instance changes."""

    instances: Mapping[str, Instance]
    in_use: Callable[[str], int]
    """How many live sessions use a service id."""
    now: float

    @cached_property
    def _reliable(self) -> Counter[tuple[str, str | None]]:
        """The number of reliable instances by type and by whose sessions they serve (None: everyone's). Counted once:
        a search for each of a caller's hundreds of failing services would keep everyone waiting for seconds."""
        return Counter(_scope(one.service) for one in self.instances.values() if one.is_reliable(self.now))

    def status(self, instance: Instance) -> InstanceStatus:
        last = not instance.breaker.closed and self.is_last(instance)
        return InstanceStatus(instance, instance.state(self.now, last=last), self.in_use(instance.service.service_id))

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance is reliable that every session which may use it may use instead."""
        type, owner = _scope(instance.service)
        others = self._reliable[type, None] + (self._reliable[type, owner] if owner is not None else 0)
        return others == int(instance.is_reliable(self.now))

    def pick(
        self, requirements: Sequence[Requirement], chance: random.Random, *, owner: str, full: Collection[str] = ()
    ) -> list[str | None]:
        """A service id for each requirement, none twice; None for an optional requirement that no service meets. Only
        services that serve this caller count, as if the others did not exist. `full`: the ids of services that have no
        capacity left, whatever is known of them here.

        Raises NotAvailable, which names every unmet mandatory requirement.
        """
        serving = self._serving(owner)
        admitting = self._admitting([one for one in serving if one.service.service_id not in full])
        offers = [self._offers(one, admitting, chance) for one in requirements]
        assigned = assign(offers, by_importance(requirements))
        unmet = [
            Unmet(requirement, _why_none(requirement, assigned, serving))
            for requirement, service_id in zip(requirements, assigned, strict=True)
            if service_id is None and not requirement.optional
        ]
        if unmet:
            raise NotAvailable(requirements, unmet)
        return assigned

    def _serving(self, owner: str) -> list[Instance]:
        """The instances that this caller's sessions may use."""
        return [one for one in self.instances.values() if one.service.serves(owner)]

    def _admitting(self, instances: Collection[Instance], holder: str | None = None) -> list[tuple[Instance, Rank]]:
        """Those of the instances that may get a session now, each with its rank. `holder` is in the session already and
        needs no additional capacity."""
        found = list[tuple[Instance, Rank]]()
        for instance in instances:
            status = self.status(instance)
            in_flight = status.in_flight - (instance.service.service_id == holder)
            if status.state in ADMITTING and instance.has_capacity(in_flight):
                found.append((instance, (instance.lacked_worker(self.now), instance.load_score(in_flight))))
        return found

    @staticmethod
    def _offers(
        requirement: Requirement, admitting: Sequence[tuple[Instance, Rank]], chance: random.Random
    ) -> list[str]:
        """The ids of the services that may be invited, least loaded first, equal ones in random order, and last those
        without a worker."""
        meeting = ((rank, one.service) for one, rank in admitting if one.service.meets(requirement))
        return [
            service_id for *_, service_id in sorted((rank, chance.random(), one.service_id) for rank, one in meeting)
        ]

    def another(
        self,
        service: RequiredService,
        chance: random.Random,
        *,
        owner: str,
        others: Collection[str],
        excluded: Collection[InstanceRef],
    ) -> RegisteredService | None:
        """The service to invite next for this entry of a session; None if there is none.

        Prefer services not tried yet, then the one tried longest ago; among equals the least loaded. An entry required
        by id can only get the same service again. `others`: ids used by the session's other entries; `excluded`:
        instances that must not be invited now.
        """
        candidates = [
            one
            for one in self._serving(owner)
            if one.service.service_id not in others and one.service.meets(service.requirement)
        ]
        offers = self._offers(service.requirement, self._admitting(candidates, service.service_id), chance)
        found = [self.instances[service_id].service for service_id in offers]
        free = [one for one in found if one.ref not in excluded]
        last_tried = {ref: nth for nth, ref in enumerate(service.tried)}
        return min(free, key=lambda one: last_tried.get(one.ref, -1), default=None)


def _scope(service: RegisteredService) -> tuple[str, str | None]:
    """Its type, and the only caller that it serves, if it does not serve everyone."""
    return service.type, None if service.is_for_all else service.owner


def _why_none(
    requirement: Requirement, assigned: Collection[str | None], serving: Collection[Instance]
) -> ServiceReason:
    """`no_capacity` if another service that serves the caller meets the requirement but can't be invited now."""
    exists = any(one.service.meets(requirement) and one.service.service_id not in assigned for one in serving)
    return ServiceReason.NO_CAPACITY if exists else ServiceReason.NOT_REGISTERED
