"""The registrations of all replicas of a deployment: what each records, the others take over.

The later registration of an id counts, and of one registration the later change. A removal is recorded for a while
instead of deleted. So all replicas agree in whichever order they hear, and what arrives late or is put back brings
nothing back that is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from manager_agent.clock import Clock
from manager_agent.records.records import Kind, Record, Records
from manager_agent.registry.instances import Instance
from manager_agent.registry.registry import Registry
from manager_agent.registry.saved_registrations import VALUES, SavedRegistration

REMOVAL_KEPT = 3_600.0
"""Seconds for which it is recorded that a service was removed."""
LATER = 0.001
"""Seconds between two changes of one registration, at least: the clocks of replicas differ."""
STATIC = "\nstatic"
"""After the id of a service in the SERVICES_FILE: that it drains."""


class SharedRegistrations:
    """The registrations of all replicas: what each records, the others take over."""

    def __init__(self, registry: Registry, records: Records, clock: Clock) -> None:
        self._registry, self._records, self._clock = registry, records, clock
        self._latest: dict[str, SavedRegistration] = {}
        """By the keys of their records."""
        records.listen(Kind.REGISTRATION, self._heard, self._read_anew)

    def earliest(self, service_id: str) -> float:
        """The first instant of a registration that is later than the latest of this id."""
        latest = self._latest.get(service_id)
        return 0.0 if latest is None else latest.service.registered_at + LATER

    def keep(self, service_id: str, instance: Instance | None) -> None:
        """Record the registration of this service; None: it has been removed."""
        if instance is not None and instance.service.static:
            self._keep_static(service_id, instance)
            return
        before = self._latest.get(service_id)
        changed_at = max(self._clock(), 0.0 if before is None else before.changed_at + LATER)
        if instance is not None:
            saved = SavedRegistration(service=instance.service, draining=instance.draining, changed_at=changed_at)
        elif before is None or before.removed:
            return
        else:
            saved = before.model_copy(update={"removed": True, "changed_at": changed_at})
            self._forget_removals()
        self._latest[service_id] = saved
        self._put(service_id)

    def _keep_static(self, service_id: str, instance: Instance) -> None:
        """Static services have their own file, and are recorded as long as they drain."""
        key = service_id + STATIC
        if instance.draining:
            self._latest[key] = SavedRegistration(service=instance.service, draining=True)
            self._put(key)
        else:
            self._latest.pop(key, None)
            self._records.delete(Kind.REGISTRATION, key)

    def take_over(self, records: Iterable[Record]) -> int:
        """Returns how many changed something here."""
        return sum(self._take_over(key, saved) for key, saved in VALUES.read(records).items())

    def _take_over(self, key: str, theirs: SavedRegistration) -> bool:
        ours = self._latest.get(key)
        if key.endswith(STATIC) or theirs.is_later_than(ours):
            self._latest[key] = theirs
            self._apply(key, theirs)
            return theirs != ours
        if ours is not None and ours.is_later_than(theirs):
            self._put(key)
        return False

    def _apply(self, key: str, saved: SavedRegistration) -> None:
        if saved.removed:
            self._registry.adopt_removal(saved.service.service_id)
        elif not key.endswith(STATIC):
            self._registry.adopt(saved.service, draining=saved.draining)
        else:
            self._registry.adopt_drain(saved.service.service_id, draining=saved.draining)

    def _heard(self, record: Record | None, key: str) -> None:
        if record is not None:
            self.take_over((record,))
        elif key in self._latest:
            self._forget(key)

    def _read_anew(self, keys: Set[str], are_lost: bool) -> None:
        """Record again what was lost, and forget what other replicas have removed meanwhile."""
        self._forget_removals()
        for key in self._latest.keys() - keys:
            if are_lost:
                self._put(key)
            else:
                self._forget(key)

    def _forget(self, key: str) -> None:
        """Its record is gone: it was removed long ago, or drains no more."""
        gone = self._latest.pop(key)
        self._apply(key, gone.model_copy(update={"draining": False, "removed": not key.endswith(STATIC)}))

    def _put(self, key: str) -> None:
        saved = self._latest[key]
        expires_at = saved.changed_at + REMOVAL_KEPT if saved.removed else None
        self._records.put(Kind.REGISTRATION, key, VALUES.write(saved), expires_at=expires_at)

    def _forget_removals(self) -> None:
        now = self._clock()
        over = [key for key, one in self._latest.items() if one.removed and one.changed_at + REMOVAL_KEPT <= now]
        for key in over:
            del self._latest[key]
