"""The registered services, in the order in which sessions get them.

PURE: the time is passed in. The order depends on an instance, the time, and its live sessions. Whatever of them changes
is noted, and `advance` looks at those instances alone: however many are registered, a choice takes as long.
"""

from __future__ import annotations

import math
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
        service_id, scope = instance.service.service_id, _scope(instance.service)
        before = self._instances.get(service_id)
        if before is not None and _scope(before.service) != scope:
            self.remove(service_id)
        self._instances[service_id] = instance
        if scope not in self._groups:
            self._groups[scope] = _Group()
        self._groups[scope].ids.add(service_id)
        self._note(service_id)

    def remove(self, service_id: str) -> None:
        scope = _scope(self._instances.pop(service_id).service)
        group = self._groups[scope]
        group.ids.remove(service_id)
        group.reliable.discard(service_id)
        group.admitting.put(service_id, None)
        group.suspended.put(service_id, None)
        self._due.set(service_id, math.inf)
        if not group.ids:
            del self._groups[scope]

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


def _scope(service: RegisteredService) -> Scope:
    return service.type, None if service.is_for_all else service.owner
