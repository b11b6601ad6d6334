"""Keeps the registrations in the records, and restores those of an earlier process: a service may register only
once."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from manager_agent.clock import Clock
from manager_agent.records.records import Kind, Record, Records
from manager_agent.registry.instances import Instance
from manager_agent.registry.registry import Registry
from manager_agent.registry.saved_registrations import VALUES, SavedRegistration
from manager_agent.registry.services import RegisteredService
from manager_agent.registry.shared_registrations import SharedRegistrations

log = structlog.get_logger()


class RegistrationKeeper:
    """Restores the registrations when it starts, and keeps every change from then on."""

    def __init__(self, registry: Registry, records: Records, clock: Clock = time.time) -> None:
        self._registry, self._records = registry, records
        self._shared = SharedRegistrations(registry, records, clock) if records.is_shared else None
        self._restored: dict[str, RegisteredService] = {}

    async def start(self) -> None:
        await self.restore()
        if self._shared is None:
            self._registry.keep_with(self.keep)
        else:
            self._registry.keep_with(self._shared.keep, self._shared.earliest)

    async def aclose(self) -> None: ...

    async def restore(self) -> None:
        """Add the registrations in the records, unless later ones of the same ids are known, and remove those that were
        restored before and have been removed by another process since."""
        records = await self._records.load(Kind.REGISTRATION)
        take_over = self._restore if self._shared is None else self._shared.take_over
        if restored := take_over(records):
            log.info("registrations_restored", services=restored)

    def _restore(self, records: Iterable[Record]) -> int:
        kept, recorded = VALUES.read(records), {record.key for record in records}
        # No records at all: they may be unreadable at the moment.
        for service_id, service in self._restored.items() if recorded else ():
            if service_id not in recorded and self._registry.has(service):
                self._registry.remove(service_id)
        restored = self._registry.restore(Instance(saved.service, draining=saved.draining) for saved in kept.values())
        self._restored = {service_id: saved.service for service_id, saved in kept.items()}
        for service_id in kept:
            if self._registry.get(service_id).static:  # listed in the SERVICES_FILE since
                self._records.delete(Kind.REGISTRATION, service_id)
        return restored

    def keep(self, service_id: str, instance: Instance | None) -> None:
        """Keep the registration of this service; None: it has been removed. Static services have their own file."""
        if instance is None or instance.service.static:
            self._records.delete(Kind.REGISTRATION, service_id)
        else:
            saved = SavedRegistration(service=instance.service, draining=instance.draining)
            self._records.put(Kind.REGISTRATION, service_id, VALUES.write(saved))
