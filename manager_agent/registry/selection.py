"""All registered services at one instant: the state of each, and which may be invited for a requirement.

PURE: the time and the random generator that decides between equal instances are passed in.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.matching import assign, by_importance
from manager_agent.registry.ranking import Ranking, best_first
from manager_agent.registry.service_index import ServiceIndex
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
    """Valid until an instance changes."""

    index: ServiceIndex
    """Advanced to `now`."""
    now: float

    def status(self, instance: Instance) -> InstanceStatus:
        last = not instance.breaker.closed and self.is_last(instance)
        in_flight = self.index.in_use(instance.service.service_id)
        return InstanceStatus(instance, instance.state(self.now, last=last), in_flight)

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance is reliable that every session which may use it may use instead."""
        return self.index.is_last(instance)

    def pick(
        self, requirements: Sequence[Requirement], chance: random.Random, *, owner: str, full: Collection[str] = ()
    ) -> list[str | None]:
        """A service id for each requirement, none twice; None for an optional requirement that no service meets. Only
        services that serve this caller count, as if the others did not exist. `full`: the ids of services that have no
        capacity left, whatever is known of them here.

        Raises NotAvailable, which names every unmet mandatory requirement.
        """
        offers = [self._first_offers(one, len(requirements), chance, owner, full) for one in requirements]
        assigned = assign(offers, by_importance(requirements))
        unmet = [
            Unmet(requirement, self._why_none(requirement, assigned, owner))
            for requirement, service_id in zip(requirements, assigned, strict=True)
            if service_id is None and not requirement.optional
        ]
        if unmet:
            raise NotAvailable(requirements, unmet)
        return assigned

    def _first_offers(
        self, requirement: Requirement, count: int, chance: random.Random, owner: str, full: Collection[str]
    ) -> list[str]:
        """As many as there are requirements decide: the others can hold all but one of them."""
        offers = (one for one in self.offers(requirement, chance, owner) if one not in full)
        return list(islice(offers, count))

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
        last_tried = {ref: nth for nth, ref in enumerate(service.tried)}
        tried = list[RegisteredService]()
        for service_id in self.offers(service.requirement, chance, owner, holder=service.service_id):
            one = self.index.instances[service_id].service
            if service_id in others or one.ref in excluded:
                continue
            if one.ref not in last_tried:
                return one
            tried.append(one)
        return min(tried, key=lambda one: last_tried[one.ref], default=None)

    def offers(
        self, requirement: Requirement, chance: random.Random, owner: str, holder: str | None = None
    ) -> Iterator[str]:
        """The ids of the services that may be invited, least loaded first, equal ones in random order, and last those
        without a worker. `holder` is in the session already and needs no additional capacity; it may come twice."""
        if requirement.service_id is not None:
            rankings = [self._ranking_of(requirement.service_id, owner, holder)]
        else:
            rankings = list(self.index.rankings(requirement.type, owner))
            if holder is not None:  # comes before its place with one session more
                rankings.append(self._ranking_of(holder, owner, holder))
        found, instances = best_first(rankings, chance), self.index.instances
        if holder is None and not requirement.labels:
            return found
        return (one for one in found if instances[one].service.meets(requirement))

    def _ranking_of(self, service_id: str, owner: str, holder: str | None) -> Ranking:
        """Of this service alone; empty if it may not be invited."""
        ranking, instance = Ranking(), self.index.instances.get(service_id)
        if instance is not None and instance.service.serves(owner):
            status = self.status(instance)
            if status.state in ADMITTING:
                in_flight = status.in_flight - (service_id == holder)
                ranking.put(service_id, instance.rank(in_flight, self.now))
        return ranking

    def _why_none(self, requirement: Requirement, assigned: Collection[str | None], owner: str) -> ServiceReason:
        """`no_capacity` if another service that serves the caller meets the requirement but can't be invited now."""
        instances, asked = self.index.instances, requirement.service_id
        ids = self.index.ids(requirement.type, owner) if asked is None else instances.keys() & {asked}
        serving = (instances[one].service for one in ids if one not in assigned)
        exists = any(one.serves(owner) and one.meets(requirement) for one in serving)
        return ServiceReason.NO_CAPACITY if exists else ServiceReason.NOT_REGISTERED
