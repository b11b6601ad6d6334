"""What each event does to a session: `apply(session, event) -> session`.

PURE. One small function per event type, listed in the table at the end; those about services are in
service_transitions.py. An event that is late, repeated, or about an older attempt or participant changes nothing, and
then the same object is returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import Attempt
from manager_agent.session.service_transitions import (
    invite_accepted,
    invite_refused,
    invite_started,
    lost,
    make_stale,
    removal_ended,
    removal_started,
    replacement_held,
    service_left,
    service_seen,
    service_signalled,
    with_attempt,
    with_stale_participant,
)
from manager_agent.session.session import (
    GIVES_TOKENS,
    OUR_IDENTITIES,
    End,
    EndReason,
    RequiredService,
    Session,
    StaleParticipant,
    deadline,
    index_of,
)

AGENT_NAME_ATTRIBUTE = "lk.agent.name"

CLEAN_UP_PAUSE = 30.0
"""Seconds until the deletion of a room is retried."""
AFTER_THE_END = ev.RoomCreated | ev.RoomRefused | ev.CleanUpStarted | ev.CleanedUp | ev.CleanUpFailed
"""Events that still apply when the session is over: responses that were in flight, and the clean-up."""


def apply(session: Session, event: ev.Event) -> Session:
    """The session after `event`; the same object when the event changes nothing."""
    if session.end is not None and not isinstance(event, AFTER_THE_END):
        return session
    changed = _ON[type(event)](session, event)
    if changed == session:
        return session
    if changed.state is not session.state:
        changed = replace(changed, state_since=event.at)
    if changed.ready_at is None and changed.state in GIVES_TOKENS:
        changed = replace(changed, ready_at=event.at)
    if _public(changed) != _public(session):
        changed = replace(changed, revision=session.revision + 1)
    return changed


def _public(session: Session) -> tuple[object, ...]:
    services = tuple(
        (s.service_id, s.attempt, s.state, s.ready_by, session.reason_of(s), s.timeline) for s in session.services
    )
    return (session.state, session.end and session.end.reason, session.manager.identity, services)


# --- the room, the end ------------------------------------------------------------------------------


def _room_requested(session: Session, event: ev.RoomRequested) -> Session:
    if session.room.requested_at is not None:
        return session
    return replace(session, room=replace(session.room, requested_at=event.at))


def _room_created(session: Session, event: ev.RoomCreated) -> Session:
    if not session.room.in_flight:
        return session
    return replace(session, room=replace(session.room, sid=event.sid, created_at=event.at))


def _room_refused(session: Session, event: ev.RoomRefused) -> Session:
    if not session.room.in_flight:
        return session
    refused = replace(session, room=replace(session.room, refused=True, taken=event.taken))
    return refused if refused.over else _ended(refused, EndReason.ROOM_UNAVAILABLE, event.at)


def _room_closed(session: Session, event: ev.RoomClosed) -> Session:
    if session.room.created_at is None or event.sid not in ("", session.room.sid):
        return session
    return _ended(session, EndReason.ROOM_CLOSED, event.at)


def _session_closed(session: Session, event: ev.SessionClosed) -> Session:
    return _ended(session, EndReason.CLIENT_GONE if event.by_client_gone else EndReason.CLOSED, event.at)


def _deadline_passed(session: Session, event: ev.DeadlinePassed) -> Session:
    due = deadline(session)
    return _ended(session, due[1], event.at) if due and due[0] <= event.at else session


def _ended(session: Session, reason: EndReason, at: float) -> Session:
    return replace(session, end=End(reason, at))


def _clean_up_started(session: Session, event: ev.CleanUpStarted) -> Session:
    end = session.end
    if end is None or end.cleaning_since is not None or event.at < end.retry_at:
        return session
    return replace(session, end=replace(end, cleaning_since=event.at, clean_ups=end.clean_ups + 1))


def _cleaned_up(session: Session, event: ev.CleanedUp) -> Session:
    if session.end is None or session.end.cleaned_at is not None:
        return session
    return replace(session, end=replace(session.end, cleaned_at=event.at))


def _clean_up_failed(session: Session, event: ev.CleanUpFailed) -> Session:
    end = session.end
    if end is None or end.cleaning_since is None or end.cleaned_at is not None:
        return session
    return replace(session, end=replace(end, cleaning_since=None, retry_at=event.at + CLEAN_UP_PAUSE))


# --- the manager ------------------------------------------------------------------------------------


def _manager_dispatched(session: Session, event: ev.ManagerDispatched) -> Session:
    manager = session.manager
    too_soon = manager.attempt > 0 and event.at < manager.next_dispatch_at
    if event.attempt != manager.attempt + 1 or too_soon:
        return session
    return replace(_relieved(session), manager=manager.dispatched(event.attempt, event.identity, event.at))


def _job_accepted(session: Session, event: ev.JobAccepted) -> Session:
    return replace(session, manager=session.manager.accepted(event.identity, event.at))


def _manager_failed(session: Session, event: ev.ManagerFailed) -> Session:
    manager = session.manager
    if not manager.in_charge or event.identity != manager.identity:
        return session
    return replace(_relieved(session), manager=manager.gone(event.at))


def _relieved(session: Session) -> Session:
    """Mark the previous manager as stale: an abandoned connect may still join the room as a second manager."""
    manager = session.manager
    if manager.identity is None or not manager.in_charge:
        return session
    return make_stale(session, StaleParticipant(manager.identity, manager.presence))


# --- who is in the room -----------------------------------------------------------------------------


def _participant_seen(session: Session, event: ev.ParticipantSeen) -> Session:
    return _seen(session, event.participant, event.at)


def _seen(session: Session, seen: ParticipantInfo, at: float) -> Session:
    session = _left(session, seen.identity, lambda presence: presence.overtaken(seen.sid, seen.joined_ms), at)
    if seen.identity == session.user.identity:
        presence = session.user_presence.seen(seen.sid, seen.joined_ms, at)
        came_at = at if session.user_came_at is None and presence.here else session.user_came_at
        return replace(session, user_presence=presence, user_came_at=came_at)
    manager = session.manager
    if seen.identity == manager.identity and manager.in_charge:
        return replace(session, manager=manager.seen(manager.presence.seen(seen.sid, seen.joined_ms, at), at))
    if session.is_stale(seen.identity):
        return with_stale_participant(
            session, seen.identity, lambda o: replace(o, presence=o.presence.seen(seen.sid, seen.joined_ms, at))
        )
    entry = session.entry_of(seen.identity)
    if entry is None and seen.is_agent and not seen.identity.startswith(OUR_IDENTITIES):
        session, entry = _recognized(session, seen)
        if entry is None and _is_one_too_many(session, seen):
            return make_stale(session, StaleParticipant(seen.identity, Presence().seen(seen.sid, seen.joined_ms, at)))
    return session if entry is None else service_seen(session, entry, seen, at)


def _recognized(session: Session, seen: ParticipantInfo) -> tuple[Session, int | None]:
    """An agent that LiveKit dispatched for us has an identity assigned by LiveKit: recognize it by its agent name."""
    name = seen.attributes.get(AGENT_NAME_ATTRIBUTE)

    def awaited(service: RequiredService) -> bool:
        known = service.presence.here or seen.sid in service.presence.gone
        return bool(name) and service.agent_name == name and service.attempt > 0 and not known

    entry = index_of(session.services, awaited)
    if entry is not None:
        attempt = session.services[entry].current
        presence = replace(attempt.presence, joined_ms=0)  # instants only order the joins of the same identity
        session = with_attempt(session, entry, replace(attempt, identity=seen.identity, presence=presence))
    return session, entry


def _is_one_too_many(session: Session, seen: ParticipantInfo) -> bool:
    """An agent that joined for our dispatch although its entry already has one: it was dispatched twice."""
    name = seen.attributes.get(AGENT_NAME_ATTRIBUTE)
    same = [service for service in session.services if name and service.agent_name == name and service.attempt > 0]
    return bool(same) and all(s.presence.here and seen.sid not in s.presence.gone for s in same)


def _participant_left(session: Session, event: ev.ParticipantLeft) -> Session:
    if session.entry_of(event.identity) is None:
        session = _stranger_left(session, event.sid)
    left = _left(session, event.identity, lambda presence: presence.left(event.sid), event.at)
    return replace(left, user_left_at=session.user_left_at) if event.aborted else left


def _stranger_left(session: Session, sid: str) -> Session:
    """Remember the leave, because it may be of an agent dispatched for us whose join is reported later."""
    for entry, service in enumerate(session.services):
        if service.agent_name:
            left = replace(service.current, presence=service.presence.left(sid))
            session = with_attempt(session, entry, left)
    return session


def _left(session: Session, identity: str, leave: Callable[[Presence], Presence], at: float) -> Session:
    if identity == session.user.identity:
        presence = leave(session.user_presence)
        left_at = session.user_left_at if presence is session.user_presence else at
        return replace(session, user_presence=presence, user_left_at=left_at)
    if identity == session.manager.identity and session.manager.in_charge:
        return replace(session, manager=session.manager.left(leave(session.manager.presence), at))
    if session.is_stale(identity):
        return with_stale_participant(session, identity, lambda o: replace(o, presence=leave(o.presence)))
    entry = session.entry_of(identity)
    if entry is None:
        return session
    return service_left(session, entry, leave(session.services[entry].presence), at)


def _room_listed(session: Session, event: ev.RoomListed) -> Session:
    if event.asked_at == session.listing_since:
        session = replace(session, listing_since=None, listing_failures=0, listed_at=event.at)
    if event.asked_at < session.listed_as_of:
        return session
    session = replace(session, listed_as_of=event.asked_at)
    listed = {seen.identity for seen in event.participants} | set(event.joining)
    known = [session.user.identity, session.manager.identity, *(s.identity for s in session.services)]
    known += [stale_participant.identity for stale_participant in session.stale_participants]
    for identity in known:
        if identity and identity not in listed:
            session = _left(session, identity, lambda presence: presence.not_listed(event.asked_at), event.at)
    for entry, service in enumerate(session.services):
        if service.identity not in listed and _spoke_before(service.current, event.asked_at):
            session = with_attempt(session, entry, lost(service.current, event.at))
    for seen in event.participants:  # last: a listed participant may replace one that is gone
        session = _seen(session, seen, event.at)
    return session


def _spoke_before(attempt: Attempt, asked_at: float) -> bool:
    """Whether it sent a signal in the room before that instant, although its join was never reported."""
    joined = attempt.timeline.joined
    return not attempt.presence.here and not attempt.lost and joined is not None and joined < asked_at


def _webhook_arrived(session: Session, event: ev.WebhookArrived) -> Session:
    return session if session.webhooks_arrive else replace(session, webhooks_arrive=True)


def _listing_started(session: Session, event: ev.ListingStarted) -> Session:
    if session.listing_since is not None or event.at <= (session.listed_at or -math.inf):
        return session
    return replace(session, listing_since=event.at)


def _listing_failed(session: Session, event: ev.ListingFailed) -> Session:
    if event.asked_at != session.listing_since:
        return session
    failures = session.listing_failures + 1
    return replace(session, listing_since=None, listing_failures=failures, listed_at=event.at)


_ON: Mapping[type, Callable[[Session, Any], Session]] = {
    ev.RoomRequested: _room_requested,
    ev.RoomCreated: _room_created,
    ev.RoomRefused: _room_refused,
    ev.RoomClosed: _room_closed,
    ev.RoomListed: _room_listed,
    ev.ManagerDispatched: _manager_dispatched,
    ev.JobAccepted: _job_accepted,
    ev.ManagerFailed: _manager_failed,
    ev.InviteStarted: invite_started,
    ev.InviteAccepted: invite_accepted,
    ev.InviteRefused: invite_refused,
    ev.ServiceSignalled: service_signalled,
    ev.ParticipantSeen: _participant_seen,
    ev.ParticipantLeft: _participant_left,
    ev.WebhookArrived: _webhook_arrived,
    ev.ReplacementHeld: replacement_held,
    ev.RemovalStarted: removal_started,
    ev.RemovalEnded: removal_ended,
    ev.ListingStarted: _listing_started,
    ev.ListingFailed: _listing_failed,
    ev.DeadlinePassed: _deadline_passed,
    ev.SessionClosed: _session_closed,
    ev.CleanUpStarted: _clean_up_started,
    ev.CleanedUp: _cleaned_up,
    ev.CleanUpFailed: _clean_up_failed,
}
"""The transition of each event type."""
