"""The registered services as the feed sends them: each is rendered as JSON once for all readers, and again when it
changes. The time is passed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from http_api.models.responses import ServiceView
from manager_agent.registry.selection import InstanceStatus

FLEETING = 5.0
"""Minimum seconds between events for changes that come with every heartbeat: of the load and of the lease's end."""
SHORT_LEASE = 2 * FLEETING
"""Seconds. A renewal of a shorter lease is always sent, because it could otherwise appear to have expired."""


@dataclass(frozen=True, slots=True)
class _Seen:
    lasting: object
    fleeting: object
    """Compared with later values to detect changes."""
    made: str
    at: float


class SeenServices:
    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        """By service id."""

    def look(self, statuses: Iterable[InstanceStatus], now: float) -> Sequence[str]:
        """Update to these statuses. Returns the ids of services that are new, changed or gone."""
        news, gone = list[str](), dict.fromkeys(self._seen)
        for status in statuses:
            service_id = status.service.service_id
            gone.pop(service_id, None)
            if _is_news(self._seen.get(service_id), status, now):
                made = ServiceView.of(status).model_dump_json()
                self._seen[service_id] = _Seen(_lasting(status), _fleeting(status), made, now)
                news.append(service_id)
        for service_id in gone:
            del self._seen[service_id]
        return [*news, *gone]

    def of(self, service_id: str) -> str | None:
        """The JSON of the service's ServiceView, on one line; None when it is gone."""
        seen = self._seen.get(service_id)
        return None if seen is None else seen.made

    @property
    def all(self) -> list[str]:
        """The JSON of every service's ServiceView, sorted by id."""
        return [seen.made for _, seen in sorted(self._seen.items())]

    def clear(self) -> None:
        self._seen.clear()


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
