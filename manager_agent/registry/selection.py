"""All registered services at one instant: who is in what state, and who may be invited for what.

PURE: the time and the random numbers that decide between equals are given.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.matching import assign, by_importance
from manager_agent.registry.services import NotAvailable, RegisteredService, Unmet
from manager_agent.session.required_service import InstanceRef, RequiredService, Requirement, ServiceReason


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One instance as it stands."""

    instance: Instance
    state: InstanceState
    in_flight: int
    """Places in live sessions that it holds: it is in the room, or is being invited."""

    @property
    def service(self) -> RegisteredService:
        return self.instance.service


@dataclass(frozen=True, slots=True)
class Selection:
    instances: Mapping[str, Instance]
    in_use: Callable[[str], int]
    """The places in live sessions that a service id holds."""
    now: float

    def status(self, instance: Instance) -> InstanceStatus:
        last = not instance.breaker.closed and self.is_last(instance)
        return InstanceStatus(instance, instance.state(self.now, last=last), self.in_use(instance.service.service_id))

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance of its type is sound."""
        return not any(
            other.service.type == instance.service.type and other is not instance and other.sound(self.now)
            for other in self.instances.values()
        )

    def pick(self, requirements: Sequence[Requirement], chance: random.Random) -> list[str | None]:
        """A service id for each requirement, none twice; None for an optional one that nobody meets.

        Raises NotAvailable, which names every requirement that must be met and is not.
        """
        given = assign([self.offers(one, chance) for one in requirements], by_importance(requirements))
        unmet = [
            Unmet(requirement, self._why_none(requirement, given))
            for requirement, service_id in zip(requirements, given, strict=True)
            if service_id is None and not requirement.optional
        ]
        if unmet:
            raise NotAvailable(requirements, unmet)
        return given

    def offers(
        self,
        requirement: Requirement,
        chance: random.Random,
        *,
        excluded: Collection[str] = (),
        holder: str | None = None,
    ) -> list[str]:
        """The ids of those who may be invited, the least loaded first, equals in any order. `holder` has a place in the
        session already, and needs no further one."""
        offers: list[tuple[tuple[float, float], float, str]] = []
        for service_id, instance in self.instances.items():
            if service_id in excluded or not instance.service.meets(requirement):
                continue
            status = self.status(instance)
            in_flight = status.in_flight - (service_id == holder)
            if status.state is InstanceState.HEALTHY and instance.has_room(in_flight):
                offers.append((instance.busy(in_flight), chance.random(), service_id))
        return [service_id for _, _, service_id in sorted(offers)]

    def another(
        self,
        service: RequiredService,
        chance: random.Random,
        *,
        others: Collection[str],
        excluded: Collection[InstanceRef],
    ) -> RegisteredService | None:
        """Who may be invited next for what this entry of a session asks for; None when there is nobody.

        Whoever was not tried for it yet, then who was tried longest ago; of equals the least loaded. For what is
        required by its id it can only be the same again. It is none of `others`, the ids that the session has already,
        nor of `excluded`.
        """
        offers = self.offers(service.requirement, chance, excluded=others, holder=service.service_id)
        found = [self.instances[service_id].service for service_id in offers]
        free = [one for one in found if one.ref not in excluded]
        last_tried = {ref: nth for nth, ref in enumerate(service.tried)}
        return min(free, key=lambda one: last_tried.get(one.ref, -1), default=None)

    def _why_none(self, requirement: Requirement, given: Sequence[str | None]) -> ServiceReason:
        """`no_capacity` if somebody else is registered who meets it, and can't be invited as things are."""
        there = any(one.service.meets(requirement) for key, one in self.instances.items() if key not in given)
        return ServiceReason.NO_CAPACITY if there else ServiceReason.NOT_REGISTERED
