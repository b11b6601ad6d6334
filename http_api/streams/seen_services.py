"""The registered services as the feed sends them: each is rendered as JSON once for all readers, and again when it
changes. The time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from http_api.access.principals import Principal
from http_api.models.responses import ServiceView
from http_api.resources.ownership import sees_service
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService

FLEETING = 5.0
"""Minimum seconds between events for changes that come with every heartbeat: of the load and of the lease's end."""
SHORT_LEASE = 2 * FLEETING
"""Seconds. A renewal of a shorter lease is always sent, because it could otherwise appear to have expired."""


@dataclass(frozen=True, slots=True)
class _Seen:
    service: RegisteredService
    lasting: object
    fleeting: object
    """Compared with later values to detect changes."""
    made: str
    made_for_others: str
    """Without the endpoint."""
    at: float


class SeenServices:
    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        """By service id."""

    def look(self, statuses: Iterable[InstanceStatus], now: float) -> Sequence[RegisteredService]:
        """Update to these statuses. Returns the services that are new, changed or gone; one that has another
        owner now also as it was."""
        news, gone = list[RegisteredService](), dict.fromkeys(self._seen)
        for status in statuses:
            service_id = status.service.service_id
            gone.pop(service_id, None)
            if _is_news(before := self._seen.get(service_id), status, now):
                if before is not None and before.service.owner != status.service.owner:
                    news.append(before.service)
                news.append(status.service)
                self._seen[service_id] = _seen(status, now)
        return [*news, *(self._seen.pop(service_id).service for service_id in gone)]

    def of(self, service_id: str, principal: Principal) -> str | None:
        """The JSON of the service's ServiceView, on one line; None when the caller can't see it or it is gone."""
        seen = self._seen.get(service_id)
        if seen is None or not sees_service(principal, seen.service):
            return None
        return seen.made if principal.sees(seen.service.owner) else seen.made_for_others

    def all(self, principal: Principal) -> list[str]:
        """The JSON of the ServiceView of every service that the caller may see, sorted by id."""
        made = (self.of(service_id, principal) for service_id in sorted(self._seen))
        return [service for service in made if service is not None]

    def clear(self) -> None:
        self._seen.clear()


def _seen(status: InstanceStatus, now: float) -> _Seen:
    made, made_for_others = (ServiceView.json_of(status, shows_endpoint=shown) for shown in (True, False))
    return _Seen(status.service, _lasting(status), _fleeting(status), made, made_for_others, now)


def _is_news(seen: _Seen | None, status: InstanceStatus, now: float) -> bool:
    if seen is None or seen.lasting != _lasting(status):
        return True
    lease = status.instance.lease
    is_due = now >= seen.at + FLEETING or (lease is not None and lease.seconds < SHORT_LEASE)
    return is_due and seen.fleeting != _fleeting(status)


def _lasting(status: InstanceStatus) -> object:
    return status.service, status.state, status.in_flight, status.instance.load is None


def _fleeting(status: InstanceStatus) -> object:
    lease = status.instance.lease
    return status.instance.load, None if lease is None else lease.expires_at
