"""Registered services, and what sessions ask for.

PURE. instances.py has the status of a registered service, selection.py chooses, and registry.py keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manager_agent.session.events import Chosen, ReadyOn
from manager_agent.session.required_service import InstanceRef, Requirement, ServiceReason


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

    @property
    def chosen(self) -> Chosen:
        """It as the instance to invite."""
        return Chosen(self.service_id, self.type, self.endpoint, self.agent_name, self.ready_on)

    def meets(self, requirement: Requirement) -> bool:
        if requirement.service_id is not None:
            return self.service_id == requirement.service_id
        return self.type == requirement.type and requirement.labels.items() <= self.labels.items()


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement for which no instance can be invited."""

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
