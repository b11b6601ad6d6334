"""Quotas on concurrent sessions, on reserved room names, and on registered services: per caller and in total."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from http_api.access.principals import DEVELOPER
from http_api.errors import Overloaded, TooManyRoomNames, TooManyServices, TooManySessions
from http_api.limits.registrations_begun import Begun
from manager_agent.registry.registry import Registry
from manager_agent.session.counts import SessionCounts
from manager_agent.store.room_names import RoomNames


class Quotas:
    def __init__(
        self,
        counts: SessionCounts,
        names: RoomNames,
        *,
        per_caller: int,
        in_all: int,
        in_making: int,
        names_per_caller: int,
        names_in_all: int,
    ) -> None:
        self._counts, self._names = counts, names
        self._per_caller, self._in_all, self._in_making = per_caller, in_all, in_making
        self._names_per_caller, self._names_in_all = names_per_caller, names_in_all

    def check(self, owner: str) -> None:
        """Check that another session may be opened for this caller. Raises TooManySessions,
        TooManyRoomNames, Overloaded.

        Of the places for sessions that are being opened, one caller may have as many as it leaves to the others: alone,
        half of them. So no caller can use them up while LiveKit is slow.

        A session opened right after this call, without an await in between, can't exceed the quotas.
        """
        if owner != DEVELOPER.name and self._counts.live_of(owner) >= self._per_caller:
            raise TooManySessions(self._per_caller)
        if self._counts.live >= self._in_all:
            raise Overloaded(f"the server already has {self._in_all} sessions (SESSIONS_MAX)")
        if self._counts.in_making >= self._in_making:
            raise Overloaded(f"{self._in_making} sessions are already being opened (CREATES_IN_FLIGHT)")
        if owner != DEVELOPER.name and self._counts.in_making_of(owner) >= self._in_making - self._counts.in_making:
            raise Overloaded("you are opening as many sessions as there are places left (CREATES_IN_FLIGHT)")
        if owner != DEVELOPER.name and self._names.count_of(owner) >= self._names_per_caller:
            raise TooManyRoomNames(self._names_per_caller)
        if self._names.count >= self._names_in_all:
            raise Overloaded(f"tokens of {self._names_in_all} sessions reserve room names (ROOM_NAMES_MAX)")


class ServiceQuotas:
    def __init__(self, registry: Registry, *, per_caller: int, in_all: int) -> None:
        self._registry, self._per_caller, self._in_all = registry, per_caller, in_all

    def check(self, owner: str, service_id: str, begun: Sequence[Begun]) -> None:
        """Check that this caller may register this service. Replacing one is always allowed. `begun`: registrations
        that count too, although they are not recorded yet. Raises TooManyServices, Overloaded."""
        known = self._registry
        if service_id in known:
            return
        # One of the same id may be refused yet: this one is not a replacement.
        others = {other.service_id: other.owner for other in begun if other.service_id != service_id}
        owners = [other for begun_id, other in others.items() if begun_id not in known]
        if owner != DEVELOPER.name and known.owned_by(owner) + owners.count(owner) >= self._per_caller:
            raise TooManyServices(self._per_caller)
        if known.count + len(owners) >= self._in_all:
            raise Overloaded(f"the server already has {self._in_all} registered services (SERVICES_MAX)")


SERVICE_QUOTAS = web.AppKey("SERVICE_QUOTAS", ServiceQuotas)
