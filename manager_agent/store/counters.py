"""What a session is counted in across replicas: SessionCounts, as names of counters that can have limits. PURE."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from manager_agent.session.session import Session

LIVE, IN_MAKING = "live", "in_making"


class CounterLimit(NamedTuple):
    most: int
    less: str = ""
    """A counter whose number is taken off `most`; empty: none."""


LimitOf = Callable[[str], CounterLimit | None]
"""The limit of a counter; None: it may have any number."""


def of_owner(owner: str) -> str:
    return f"owner:{owner}"


def of_service(service_id: str) -> str:
    return f"service:{service_id}"


def in_making_of(owner: str) -> str:
    return f"in_making:{owner}"


def counters_of(session: Session | None) -> list[str]:
    """The counters that have this session, each as often as it counts there; none once it is over or removed."""
    if session is None or session.over:
        return []
    services = (of_service(service.service_id) for service in session.services)
    making = (IN_MAKING, in_making_of(session.owner)) if session.room.created_at is None else ()
    return [LIVE, of_owner(session.owner), *services, *making]
