"""What each event about the room itself does to a session: its creation, its loss, and a room made again.

PURE. Used by transitions.py, which has the table of all event types.
"""

from __future__ import annotations

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.participant import StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.retries import failed_at
from manager_agent.session.service_transitions import make_stale
from manager_agent.session.session import End, EndReason, Session


def ended(session: Session, reason: EndReason, at: float) -> Session:
    return replace(session, end=End(reason, at))


def room_requested(session: Session, event: ev.RoomRequested) -> Session:
    room = session.room
    if room.requested_at is None:
        return replace(session, room=replace(room, requested_at=event.at))
    if event.at < room.remake_at or not session.may_be_remade:
        return session
    return replace(session, room=replace(room, remaking_since=event.at))


def room_created(session: Session, event: ev.RoomCreated) -> Session:
    room = session.room
    if not room.in_flight:
        return session
    if room.created_at is None:
        return replace(session, room=replace(room, sid=event.sid, created_at=event.at))
    if event.sid == room.sid:
        return replace(session, room=room.found(event.at))
    if session.over:
        return replace(session, room=room.made_again(event.sid, event.at))
    if not session.may_be_remade:  # someone joined the lost room in its last moment
        lost = replace(session, room=room.made_again(event.sid, event.at))
        return ended(lost, EndReason.ROOM_CLOSED, event.at)
    return _remade(session, event)


def room_refused(session: Session, event: ev.RoomRefused) -> Session:
    room = session.room
    if not room.in_flight:
        return session
    if room.created_at is None:
        refused = replace(session, room=replace(room, refused=True, taken=event.taken))
        return refused if refused.over else ended(refused, EndReason.ROOM_UNAVAILABLE, event.at)
    if not event.taken:
        return replace(session, room=room.not_made_again(event.at))
    taken = replace(session, room=replace(room, remaking_since=None, taken=True))
    return taken if taken.over else ended(taken, EndReason.ROOM_CLOSED, event.at)


def room_closed(session: Session, event: ev.RoomClosed) -> Session:
    """The webhook is believed at once, unless the manager is in the room. Then the end of its connection confirms
    it, or, if the room may be made again, LiveKit's answer to that."""
    if session.room.created_at is None or event.sid not in ("", session.room.sid):
        return session
    if session.manager.is_connected:
        reported = replace(session, room=replace(session.room, reported_closed=True))
        return room_gone(reported, event.at) if session.may_be_remade else reported
    return room_gone(session, event.at)


def room_missed(session: Session, event: ev.RoomMissed) -> Session:
    if event.asked_at == session.listing_since:
        session = replace(session, listing_since=None, listing_failures=0, listed_at=event.at)
    created_at = session.room.created_at
    if created_at is None or event.asked_at <= max(created_at, session.listed_as_of):
        return session
    room = session.room.missed(event)
    session = replace(session, room=room)
    if session.may_be_remade:
        is_lost = room.is_missed_for_good(event, is_doubted=False) and event.at >= room.retry_at
        return room_gone(session, event.at) if is_lost else session
    is_gone = event.is_confirmed and room.is_missed_for_good(event, is_doubted=event.is_doubted)
    return room_gone(session, event.at) if is_gone and not session.manager.is_connected else session


def room_gone(session: Session, at: float) -> Session:
    """The room seems to be lost: it is made again, or the session ends."""
    if session.may_be_remade:
        return replace(session, room=session.room.lost(at))
    return ended(session, EndReason.ROOM_CLOSED, at)


def _remade(session: Session, event: ev.RoomCreated) -> Session:
    """Everyone was in the room that was lost. Listings that were requested before are of that room."""
    at, manager = event.at, session.manager
    waits_again = session.ready_at is not None
    if manager.identity is not None and manager.in_charge:  # it may reconnect into the new room
        session = make_stale(session, StaleParticipant(manager.identity))
    return replace(
        session,
        room=session.room.made_again(event.sid, at),
        manager=manager.remade(event.manager, at),
        services=tuple(_lost_with_room(service, at) for service in session.services),
        stale_participants=tuple(
            StaleParticipant(stale.identity, stale.presence.void(), service_id=stale.service_id, attempt=stale.attempt)
            for stale in session.stale_participants
        ),
        trespassers=(),
        user_presence=session.user_presence.void(),
        guests=tuple(replace(guest, presence=guest.presence.void()) for guest in session.guests),
        listing_since=None,
        listing_failures=0,
        listed_at=None,
        listed_as_of=at,
        ready_at=None,
        waiting_again_since=at if waits_again else session.waiting_again_since,
    )


def _lost_with_room(service: RequiredService, at: float) -> RequiredService:
    """Its current attempt is over, unless it had failed before: then it is replaced as any other."""
    attempt = service.current
    if attempt.number == 0:
        return service
    presence = attempt.presence.void()
    if failed_at(attempt) is not None:
        return replace(service, current=replace(attempt, presence=presence))
    left = at if attempt.timeline.joined is not None else None
    lost: Attempt = replace(
        attempt,
        lost_with_room=True,
        presence=presence,
        ready_by=None,
        in_flight=False,
        is_interrupted=False,
        timeline=replace(attempt.timeline, left=left),
    )
    return replace(service, current=lost)
