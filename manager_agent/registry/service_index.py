"""The registered services, in the order in which sessions get them.

PURE: the time is passed in. The order depends on an instance, the time, and its live sessions. Whatever of them changes
is noted, and `advance` looks at those instances alone: however many are registered, a choice takes as long.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from manager_agent.registry.due_times import DueTimes
from manager_agent.registry.instances import Instance
from manager_agent.registry.ranking import Ranking
from manager_agent.registry.services import RegisteredService

Scope = tuple[str | None, str | None]
"""A type, and the only caller whose sessions may use a service; None: the sessions of every caller."""


class LiveUses(Protocol):
    def in_use(self, service_id: str) -> int:
        """The number of live sessions that use this service."""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the id of each service for which the number changes."""


@dataclass(slots=True, eq=False)
class _Group:
    """The instances of a scope."""

    ids: set[str] = field(default_factory=set)
    admitting: Ranking = field(default_factory=Ranking)
    """Those that may get sessions."""
    suspended: Ranking = field(default_factory=Ranking)
    """Those that may get sessions only if no other instance is reliable."""
    reliable: set[str] = field(default_factory=set)
    """Those that can stand in for others."""


class ServiceIndex:
    def __init__(self, uses: LiveUses) -> None:
        self._instances: dict[str, Instance] = {}
        self._in_use = uses.in_use
        self._groups: dict[Scope, _Group] = {}
        self._of_agents: dict[str, set[str]] = defaultdict(set)
        """The ids of services by their agent names."""
        self._owned: Counter[str] = Counter()
        self._changed: dict[str, None] = {}
        """The ids of instances that may have another place in the order since `advance`."""
        self._due = DueTimes()
        """When they may have one by time alone."""
        uses.listen(self._note)

    @property
    def instances(self) -> Mapping[str, Instance]:
        return self._instances

    def in_use(self, service_id: str) -> int:
        return self._in_use(service_id)

    def put(self, instance: Instance) -> None:
        """Add an instance, or replace the one of its id."""
        service = instance.service
        before = self._instances.get(service.service_id)
        if before is not None and _filed(before.service) != _filed(service):
            self.remove(service.service_id)
            before = None
        self._instances[service.service_id] = instance
        if before is None:
            self._file(service)
        self._note(service.service_id)

    def remove(self, service_id: str) -> None:
        self._due.set(service_id, math.inf)
        service = self._instances.pop(service_id).service
        scope, owner, agent_name = _filed(service)
        self._owned[owner] -= 1
        if not self._owned[owner]:
            del self._owned[owner]
        if agent_name is not None:
            self._of_agents[agent_name].remove(service_id)
            if not self._of_agents[agent_name]:
                del self._of_agents[agent_name]
        group = self._groups[scope]
        group.ids.remove(service_id)
        group.reliable.discard(service_id)
        group.admitting.put(service_id, None)
        group.suspended.put(service_id, None)
        if not group.ids:
            del self._groups[scope]

    def _file(self, service: RegisteredService) -> None:
        """Make it found by what it is found by."""
        scope, owner, agent_name = _filed(service)
        self._owned[owner] += 1
        if agent_name is not None:
            self._of_agents[agent_name].add(service.service_id)
        if scope not in self._groups:
            self._groups[scope] = _Group()
        self._groups[scope].ids.add(service.service_id)

    def owned_by(self, owner: str) -> int:
        """The number of services that this caller has registered."""
        return self._owned[owner]

    def of_agent(self, agent_name: str) -> Iterator[RegisteredService]:
        """The services with this agent name, of all callers."""
        return (self._instances[service_id].service for service_id in self._of_agents.get(agent_name, ()))

    def advance(self, now: float) -> None:
        """Bring the order up to date."""
        for service_id in self._due.take(now):
            self._note(service_id)
        for service_id in self._changed:
            if (instance := self._instances.get(service_id)) is not None:
                self._arrange(instance, now)
        self._changed.clear()

    def _note(self, service_id: str) -> None:
        self._changed[service_id] = None

    def _arrange(self, instance: Instance, now: float) -> None:
        service_id, group = instance.service.service_id, self._groups[_scope(instance.service)]
        rank, is_admitted = instance.rank(self._in_use(service_id), now), instance.breaker.admits(now)
        group.admitting.put(service_id, rank if is_admitted else None)
        group.suspended.put(service_id, None if is_admitted else rank)
        if instance.is_reliable(now):
            group.reliable.add(service_id)
        else:
            group.reliable.discard(service_id)
        self._due.set(service_id, instance.changes_at(now))

    # --- as of the last `advance` -------------------------------------------------------------------

    def is_last(self, instance: Instance) -> bool:
        """Whether no other instance is reliable that every session which may use it may use instead."""
        scope = _scope(instance.service)
        is_reliable = instance.service.service_id in self._groups[scope].reliable
        return self._reliable_in(scope) == int(is_reliable)

    def rankings(self, type: str | None, owner: str) -> Iterator[Ranking]:
        """The instances of a type that sessions of this caller may get."""
        for scope, group in self._groups_for(type, owner):
            yield group.admitting
            if not self._reliable_in(scope):
                yield group.suspended

    def ids(self, type: str | None, owner: str) -> Iterator[str]:
        """All services of a type that serve this caller, in whichever state."""
        return (service_id for _, group in self._groups_for(type, owner) for service_id in group.ids)

    def _groups_for(self, type: str | None, owner: str) -> Iterator[tuple[Scope, _Group]]:
        scopes: tuple[Scope, Scope] = (type, None), (type, owner)
        return ((scope, self._groups[scope]) for scope in scopes if scope in self._groups)

    def _reliable_in(self, scope: Scope) -> int:
        """The number of reliable instances that serve whom the scope serves."""
        type, owner = scope
        scopes = {(type, None), (type, owner)}
        return sum(len(self._groups[one].reliable) for one in scopes if one in self._groups)


def _filed(service: RegisteredService) -> tuple[Scope, str, str | None]:
    """What it is found by, besides its id."""
    return _scope(service), service.owner, service.agent_name


def _scope(service: RegisteredService) -> Scope:
    return service.type, None if service.is_for_all else service.owner
