"""All registered services at one instant: the state of each, and which may be invited for a requirement.

PURE: the time and the random generator that decides between equal instances are passed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.matching import assign, by_importance
from manager_agent.registry.services import NotAvailable, RegisteredService, Unmet
from manager_agent.session.attempt import InstanceRef, ServiceReason
from manager_agent.session.required_service import RequiredService, Requirement

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


@dataclass(frozen=True, slots=True)
class Selection:
    instances: Mapping[str, Instance]
    in_use: Callable[[str], int]
    """How many live sessions use a service id."""
    now: float

    def status(self, instance: Instance) -> InstanceStatus:
        last = not instance.breaker.closed and self.is_last(instance)
        return InstanceStatus(instance, instance.state(self.now, last=last), self.in_use(instance.service.service_id))

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance that could stand in for it is reliable."""
        return not any(
            other.service.stands_in_for(instance.service) and other is not instance and other.is_reliable(self.now)
            for other in self.instances.values()
        )

    def pick(self, requirements: Sequence[Requirement], chance: random.Random, *, owner: str) -> list[str | None]:
        """A service id for each requirement, none twice; None for an optional requirement that no service meets. Only
        services that serve this caller count, as if the others did not exist.

        Raises NotAvailable, which names every unmet mandatory requirement.
        """
        assigned = assign([self.offers(one, chance, owner=owner) for one in requirements], by_importance(requirements))
        unmet = [
            Unmet(requirement, self._why_none(requirement, assigned, owner))
            for requirement, service_id in zip(requirements, assigned, strict=True)
            if service_id is None and not requirement.optional
        ]
        if unmet:
            raise NotAvailable(requirements, unmet)
        return assigned

    def offers(
        self,
        requirement: Requirement,
        chance: random.Random,
        *,
        owner: str,
        excluded: Collection[str] = (),
        holder: str | None = None,
    ) -> list[str]:
        """The ids of the services that may be invited, least loaded first, equal ones in random order, and
        last those without a worker. `holder` is in
        the session already and needs no additional capacity."""
        offers: list[tuple[bool, tuple[float, float], float, str]] = []
        for service_id, instance in self.instances.items():
            service = instance.service
            if service_id in excluded or not service.serves(owner) or not service.meets(requirement):
                continue
            status = self.status(instance)
            in_flight = status.in_flight - (service_id == holder)
            if status.state in ADMITTING and instance.has_capacity(in_flight):
                rank = instance.lacked_worker(self.now), instance.load_score(in_flight), chance.random()
                offers.append((*rank, service_id))
        return [service_id for *_, service_id in sorted(offers)]

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
        offers = self.offers(service.requirement, chance, owner=owner, excluded=others, holder=service.service_id)
        found = [self.instances[service_id].service for service_id in offers]
        free = [one for one in found if one.ref not in excluded]
        last_tried = {ref: nth for nth, ref in enumerate(service.tried)}
        return min(free, key=lambda one: last_tried.get(one.ref, -1), default=None)

    def _why_none(self, requirement: Requirement, assigned: Sequence[str | None], owner: str) -> ServiceReason:
        """`no_capacity` if another registered service meets the requirement but can't be invited now."""
        exists = any(
            one.service.serves(owner) and one.service.meets(requirement)
            for key, one in self.instances.items()
            if key not in assigned
        )
        return ServiceReason.NO_CAPACITY if exists else ServiceReason.NOT_REGISTERED
