"""Keeps the registrations in the records, and restores those of an earlier process: a service may register only
once."""

from __future__ import annotations

import math
from dataclasses import replace

import structlog
from pydantic import BaseModel, TypeAdapter, model_validator

from manager_agent.records.records import Kind, Records
from manager_agent.records.values import Values
from manager_agent.registry.instances import Instance
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService

log = structlog.get_logger()

LATEST = 4e9
"""The latest plausible time of a registration, in the year 2096."""


class SavedRegistration(BaseModel):
    """One registration. Of its state only `draining` is saved: a service reports it once. Fields of later versions are
    ignored."""

    service: RegisteredService
    draining: bool = False

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
        return self


def _shifted(saved: SavedRegistration, seconds: float) -> SavedRegistration:
    service = replace(saved.service, registered_at=saved.service.registered_at + seconds)
    return saved.model_copy(update={"service": service})


VALUES = Values(Kind.REGISTRATION, 1, TypeAdapter(SavedRegistration), shift=_shifted)


class RegistrationKeeper:
    """Restores the registrations when it starts, and keeps every change from then on."""

    def __init__(self, registry: Registry, records: Records) -> None:
        self._registry, self._records = registry, records
        self._restored: dict[str, RegisteredService] = {}

    async def start(self) -> None:
        await self.restore()
        self._registry.keep_with(self.keep)

    async def aclose(self) -> None: ...

    async def restore(self) -> None:
        """Add the registrations in the records, unless later ones of the same ids are known, and remove those that were
        restored before and have been removed by another process since."""
        records = await self._records.load(Kind.REGISTRATION)
        kept, recorded = VALUES.read(records), {record.key for record in records}
        # No records at all: they may be unreadable at the moment.
        for service_id, service in self._restored.items() if recorded else ():
            if service_id not in recorded and self._registry.has(service):
                self._registry.remove(service_id)
        restored = self._registry.restore(Instance(saved.service, draining=saved.draining) for saved in kept.values())
        self._restored = {service_id: saved.service for service_id, saved in kept.items()}
        if restored:
            log.info("registrations_restored", services=restored)
        for service_id in kept:
            if self._registry.get(service_id).static:  # listed in the SERVICES_FILE since
                self._records.delete(Kind.REGISTRATION, service_id)

    def keep(self, service_id: str, instance: Instance | None) -> None:
        """Keep the registration of this service; None: it has been removed. Static services have their own file."""
        if instance is None or instance.service.static:
            self._records.delete(Kind.REGISTRATION, service_id)
        else:
            saved = SavedRegistration(service=instance.service, draining=instance.draining)
            self._records.put(Kind.REGISTRATION, service_id, VALUES.write(saved))
