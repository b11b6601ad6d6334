"""Registered services, and what sessions ask for.

PURE values. instances.py says how a registered service is doing, choosing.py who is chosen, and registry.py keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manager_agent.session.session import InstanceRef, ReadyOn, RequiredService, ServiceReason


@dataclass(frozen=True, slots=True)
class RegisteredService:
    """A registered service: one instance that can be invited."""

    service_id: str
    type: str
    endpoint: str | None
    """Where invites are posted; None for one that LiveKit dispatches by its `agent_name`."""
    agent_name: str | None = None
    ready_on: ReadyOn = ReadyOn.JOIN
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    registered_at: float = 0.0
    capacity: int | None = None
    """Sessions at once; None: as many as there are."""
    lease_seconds: float | None = None
    """How long it counts as alive without a heartbeat, at least; None: for ever."""
    static: bool = False
    """It stands in the SERVICES_FILE: no caller replaces or removes it."""
    owner: str = ""
    """The name of the caller that registered it."""

    @property
    def ref(self) -> InstanceRef:
        return InstanceRef(self.service_id, self.endpoint, self.agent_name)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a session asks for: one service by its id, or any one of a type with these labels."""

    service_id: str | None = None
    type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False

    def met_by(self, service: RegisteredService) -> bool:
        if self.service_id is not None:
            return service.service_id == self.service_id
        return service.type == self.type and self.labels.items() <= service.labels.items()

    @classmethod
    def of(cls, service: RequiredService) -> Requirement:
        """What the session asked for when it got this entry."""
        if service.by_id:
            return cls(service_id=service.service_id, optional=service.optional)
        return cls(type=service.type, labels=service.labels, optional=service.optional)

    def chosen(self, service: RegisteredService) -> RequiredService:
        """The entry of a session that gets this service for what it asked; nothing has been done for it yet."""
        return RequiredService(
            service_id=service.service_id,
            type=service.type,
            endpoint=service.endpoint,
            agent_name=service.agent_name,
            ready_on=service.ready_on,
            optional=self.optional,
            labels=self.labels,
            by_id=self.service_id is not None,
        )


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement for which nobody can be invited."""

    requirement: Requirement
    reason: ServiceReason


class NotAvailable(Exception):
    """At least one service that must be there can't be invited; `unmet` says which and why."""

    def __init__(self, requirements: Sequence[Requirement], unmet: Sequence[Unmet]) -> None:
        names = ", ".join(u.requirement.service_id or f"type {u.requirement.type}" for u in unmet)
        super().__init__(f"no service for: {names}")
        self.requirements = tuple(requirements)
        self.unmet = tuple(unmet)


class UnknownService(LookupError):
    def __init__(self, service_id: str) -> None:
        super().__init__(f"no service is registered as {service_id!r}")
        self.service_id = service_id


class OtherInstance(Exception):
    """An instance speaks of itself, and the registration is that of another one with the same id."""

    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id!r} is registered with another endpoint; that registration stays as it is")
        self.service_id = service_id


class StaticService(Exception):
    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id!r} stands in the SERVICES_FILE; only there can it be changed or removed")
        self.service_id = service_id
