"""Where the time went until a session was ready, as the header Server-Timing says it (W3C Server Timing). PURE.

The phases follow each other: the room, the invites, the joins, what services do until they say that they are ready. The
manager's way into the room goes on beside them, as readiness does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from manager_agent.session.session import RequiredService, Session

HEADER = "Server-Timing"
SAYS = "milliseconds of each phase that is over, `room`, `manager`, `invite`, `join`, `ready`, and `total` (W3C)"

Instant = float | None
"""Seconds since the epoch; None: not known, or not yet."""


def server_timing(session: Session, now: float) -> str:
    """The value of the header for a session as it is at `now`: milliseconds, and only of those phases that are over."""
    return ", ".join(
        f'{name};dur={max(took, 0.0) * 1000:.1f};desc="{says}"' for name, says, took in _phases(session, now)
    )


def _phases(session: Session, now: float) -> Iterator[tuple[str, str, float]]:
    """Name, description and seconds of each. What is told late may make a phase seem to end before it began."""
    room, over_at = session.room, session.ready_at or (session.end and session.end.at) or now
    needed = [service for service in session.services if not service.optional]
    invited = min((at for service in needed for at in _invites(service)), default=None)
    accepted, joined = _last(needed, _accepted_at), _last(needed, _joined_at)
    for name, says, begun, ended in (
        ("room", "LiveKit makes the room", room.requested_at, room.created_at),
        ("manager", "the manager agent joins", room.created_at, session.manager.came_at),
        ("invite", "the services accept", invited, accepted),
        ("join", "the services join", accepted, joined),
        ("ready", "the services get ready", joined, session.ready_at),
        ("total", "since it was asked for", session.created_at, over_at),
    ):
        if begun is not None and ended is not None:
            yield name, says, ended - begun


def _invites(service: RequiredService) -> Iterator[float]:
    for timeline in (service.timeline, *(attempt.timeline for attempt in service.past)):
        if timeline.invited is not None:
            yield timeline.invited


def _last(services: Sequence[RequiredService], instant: Callable[[RequiredService], Instant]) -> Instant:
    """When the last of them had done it; None as long as one has not, or there is none."""
    instants = [instant(service) for service in services]
    known = [at for at in instants if at is not None]
    return max(known) if known and len(known) == len(instants) else None


def _accepted_at(service: RequiredService) -> Instant:
    """Who is there has accepted, though the answer to the invite may still be on its way."""
    return service.timeline.accepted or _joined_at(service)


def _joined_at(service: RequiredService) -> Instant:
    """Who says over HTTP that it is ready need not have joined."""
    return service.timeline.joined or service.timeline.ready
