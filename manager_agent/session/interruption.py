"""What becomes of the actions that were under way for a session when the process that acted for it was cut off.

PURE. Each of them may have been carried out or not. So an invite is sent again, as a service that got it knows it; a
room is asked for again, as LiveKit returns the one that it made; a removal, a listing and a clean-up begin again.
Used by transitions.py, which has the table of all event types.
"""

from __future__ import annotations

import math

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.participant import StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.room import Room
from manager_agent.session.service_transitions import make_stale
from manager_agent.session.session import End, Session

RELIEVED_STAY = 10.0
"""Seconds for which the manager of another process may stay in the room: it leaves when the next one is there."""
DEAD_STAY = 1.0
"""The same if the process is dead: about as long as the next one takes to come. If it was frozen, its manager would be
there when it is thawed."""


def interrupted(session: Session, event: ev.Interrupted) -> Session:
    session = replace(session, room=_room(session.room, event.at, is_over=session.over), end=_end(session.end))
    if session.over:
        return session
    if event.manager_at is not None:
        stay = DEAD_STAY if event.is_from_dead else RELIEVED_STAY
        session = _with_manager_orphaned(session, event.at, event.manager_at, stay)
    return replace(
        session,
        services=tuple(_service(service, event) for service in session.services),
        stale_participants=tuple(_stale(stale, event.at) for stale in session.stale_participants),
        trespassers=tuple(
            replace(one, removing=False, removals=one.removals.ended(event.at)) if one.removing else one
            for one in session.trespassers
        ),
        listing_since=None,
    )


def relieves_another(session: Session) -> bool:
    """Whether the manager that was dispatched last is the first one in place of another process's."""
    spent = session.manager.spent
    former = session.stale_participant(spent[-1]) if spent else None
    return session.manager.fruitless == 1 and former is not None and former.not_before > -math.inf


def _with_manager_orphaned(session: Session, at: float, manager_at: float, stay: float) -> Session:
    manager = session.manager
    if manager.identity is not None:
        stale = StaleParticipant(manager.identity, manager.presence, not_before=at + stay)
        session = make_stale(session, stale)
    due = at if session.room.created_at is None else manager_at
    return replace(session, manager=manager.orphaned(due), room=session.room.unwatched())


def _room(room: Room, at: float, *, is_over: bool) -> Room:
    if room.remaking_since is not None:
        return room.not_made_again(at)
    if not room.in_flight:
        return room
    if is_over:
        return replace(room, refused=True)  # so that it is deleted if LiveKit made it
    return replace(room, requested_at=None)


def _service(service: RequiredService, event: ev.Interrupted) -> RequiredService:
    attempt: Attempt = service.current
    if not attempt.in_flight:
        return service
    if attempt.invite_id in event.dispatched_invites:
        timeline = replace(attempt.timeline, accepted=attempt.timeline.accepted or event.at)
        accepted = replace(attempt, in_flight=False, refusal=None, refusal_detail=None, timeline=timeline)
        return replace(service, current=accepted)
    is_open = attempt.timeline.accepted is None and not attempt.has_appeared
    return replace(service, current=replace(attempt, in_flight=False, is_interrupted=is_open))


def _stale(stale: StaleParticipant, at: float) -> StaleParticipant:
    return stale if stale.removing is None else replace(stale, removing=None, removals=stale.removals.ended(at))


def _end(end: End | None) -> End | None:
    """A clean-up that was under way begins again; the services may not have been told."""
    if end is None or end.cleaned_at is not None or end.cleaning_since is None:
        return end
    return End(end.reason, end.at)
