"""Registered services, and the requirements of sessions.

PURE. instances.py has the state of a service, selection.py the selection, and registry.py holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manager_agent.json_object import EMPTY, JsonObject
from manager_agent.session.attempt import InstanceRef, ServiceReason
from manager_agent.session.events import Chosen, ReadyOn
from manager_agent.session.required_service import Requirement


@dataclass(frozen=True, slots=True)
class RegisteredService:
    """A registered service: one instance that can be invited."""

    service_id: str
    type: str
    endpoint: str | None
    """The URL for invites; None for an agent that LiveKit dispatches by its `agent_name`."""
    agent_name: str | None = None
    ready_on: ReadyOn = ReadyOn.JOIN
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: JsonObject = EMPTY
    registered_at: float = 0.0
    capacity: int | None = None
    """Concurrent sessions; None: unlimited."""
    lease_seconds: float | None = None
    """Minimum seconds that it counts as alive without a heartbeat; None: unlimited."""
    static: bool = False
    """Listed in the SERVICES_FILE: callers can't replace or remove it."""
    owner: str = ""
    """The name of the caller that registered it. Only that caller's sessions may use it, unless it is shared."""
    shared: bool = False
    """Registered by an administrator for the sessions of every caller."""

    @property
    def ref(self) -> InstanceRef:
        return InstanceRef(self.service_id, self.endpoint, self.agent_name)

    @property
    def chosen(self) -> Chosen:
        """The service as the instance to invite."""
        return Chosen(self.service_id, self.type, self.endpoint, self.agent_name, self.ready_on)

    @property
    def is_for_all(self) -> bool:
        """Whether the sessions of every caller may use it."""
        return self.shared or self.static

    def serves(self, owner: str) -> bool:
        """Whether sessions of this caller may use it."""
        return self.is_for_all or self.owner == owner

    def meets(self, requirement: Requirement) -> bool:
        if requirement.service_id is not None:
            return self.service_id == requirement.service_id
        return self.type == requirement.type and requirement.labels.items() <= self.labels.items()


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement for which no service can be invited."""

    requirement: Requirement
    reason: ServiceReason


class NotAvailable(Exception):
    """At least one mandatory service can't be invited; `unmet` says which and why."""

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
    """A request of one instance while another instance is registered with the same id."""

    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id!r} is registered with another endpoint; that registration stays as it is")
        self.service_id = service_id


class StaticService(Exception):
    def __init__(self, service_id: str) -> None:
        super().__init__(f"{service_id!r} is listed in SERVICES_FILE and can be changed or removed only there")
        self.service_id = service_id
