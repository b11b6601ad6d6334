"""What the record of a registration has."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, model_validator

from manager_agent.records.records import Kind
from manager_agent.records.values import ModelJson, Values
from manager_agent.registry.services import RegisteredService

LATEST = 4e9
"""The latest plausible time of a registration, in the year 2096."""


class SavedRegistration(BaseModel):
    """One registration. Of its state only `draining` is saved: a service reports it once. Fields of later versions are
    ignored."""

    model_config = ConfigDict(defer_build=True)

    service: RegisteredService
    draining: bool = False
    removed: bool = False
    """Only where the records are shared, like the next."""
    changed_at: float = 0.0

    @model_validator(mode="after")
    def _is_usable(self) -> SavedRegistration:
        service = self.service
        if not service.service_id or (service.endpoint is None and service.agent_name is None):
            raise ValueError("a service without an id, or without endpoint and agent_name")
        if service.capacity is not None and service.capacity < 1:
            raise ValueError("capacity below 1")
        if service.lease_seconds is not None and not 0 < service.lease_seconds < math.inf:
            raise ValueError("an invalid lease_seconds")
        if not 0 <= service.registered_at < LATEST:
            raise ValueError("an invalid registered_at")
        if not 0 <= self.changed_at < LATEST:
            raise ValueError("an invalid changed_at")
        return self

    def is_later_than(self, other: SavedRegistration | None) -> bool:
        """The same for all replicas, also of two changes made at the same time."""
        return other is None or _order(self) > _order(other)


def _order(saved: SavedRegistration) -> tuple[float, bool, float, bytes]:
    return saved.service.registered_at, saved.removed, saved.changed_at, VALUES.write(saved)


def _shifted(saved: SavedRegistration, seconds: float) -> SavedRegistration:
    service = replace(saved.service, registered_at=saved.service.registered_at + seconds)
    return saved.model_copy(update={"service": service})


VALUES = Values(Kind.REGISTRATION, 1, ModelJson(SavedRegistration), shift=_shifted)
