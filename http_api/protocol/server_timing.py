"""The Server-Timing header: how long each phase took until a session was ready (W3C Server Timing). PURE.

The phases follow one another: the room, the invites, the joins, and the services' preparation until they signal ready.
The manager joins in parallel: readiness does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session

HEADER = "Server-Timing"
DESCRIPTION = "milliseconds of each finished phase: `room`, `manager`, `invite`, `join`, `ready`, and `total` (W3C)"

Instant = float | None
"""Seconds since the epoch; None: unknown, or not yet."""


def server_timing(session: Session, now: float) -> str:
    """The value of the header for the session at the instant `now`: milliseconds of the phases that are over."""
    return ", ".join(
        f'{name};dur={max(took, 0.0) * 1000:.1f};desc="{description}"'
        for name, description, took in _phases(session, now)
    )


def _phases(session: Session, now: float) -> Iterator[tuple[str, str, float]]:
    """Name, description and seconds of each finished phase. Late reports can make a phase appear to end before it
    began."""
    room, over_at = session.room, session.ready_at or (session.end and session.end.at) or now
    needed = [service for service in session.services if not service.optional]
    invited = min((at for service in needed for at in _invites(service)), default=None)
    accepted, joined = _last(needed, _accepted_at), _last(needed, _joined_at)
    for name, description, begun, ended in (
        ("room", "LiveKit creates the room", room.requested_at, room.created_at),
        ("manager", "the manager agent joins", room.created_at, session.manager.joined_at),
        ("invite", "the services accept", invited, accepted),
        ("join", "the services join", accepted, joined),
        ("ready", "the services become ready", joined, session.ready_at),
        ("total", "since the request", session.created_at, over_at),
    ):
        if begun is not None and ended is not None:
            yield name, description, ended - begun


def _invites(service: RequiredService) -> Iterator[float]:
    for timeline in (service.timeline, *(attempt.timeline for attempt in service.past)):
        if timeline.invited is not None:
            yield timeline.invited


def _last(services: Sequence[RequiredService], instant: Callable[[RequiredService], Instant]) -> Instant:
    """The latest of the services' instants; None if one is missing, or there are no services."""
    instants = [instant(service) for service in services]
    known = [at for at in instants if at is not None]
    return max(known) if known and len(known) == len(instants) else None


def _accepted_at(service: RequiredService) -> Instant:
    """When it accepted its invite. A service in the room has accepted, even if its response is still on its way."""
    return service.timeline.accepted or _joined_at(service)


def _joined_at(service: RequiredService) -> Instant:
    """When it joined. A service that signaled ready over HTTP may not have joined yet: then when it became ready."""
    return service.timeline.joined or service.timeline.ready
