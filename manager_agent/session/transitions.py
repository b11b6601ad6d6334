"""What each event does to a session: `apply(session, event) -> session`.

PURE. One small function per event type, listed in the table at the end; presence_transitions.py has those about joins
and leaves, service_transitions.py those about services, room_transitions.py those about the room. An event that is
late, repeated, or about an older attempt, participant or room changes nothing, and then the same object is returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from manager_agent.backoff import doubling
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.deadlines import deadline
from manager_agent.session.guests import token_given
from manager_agent.session.interruption import interrupted
from manager_agent.session.overlooked import relief_at
from manager_agent.session.participant import StaleParticipant
from manager_agent.session.presence_transitions import participant_left, participant_seen, room_listed
from manager_agent.session.required_service import RequiredService
from manager_agent.session.room_transitions import (
    ended,
    room_closed,
    room_created,
    room_gone,
    room_missed,
    room_refused,
    room_requested,
)
from manager_agent.session.service_transitions import (
    invite_accepted,
    invite_refused,
    invite_started,
    make_stale,
    removal_ended,
    removal_started,
    replacement_held,
    service_signalled,
)
from manager_agent.session.session import GIVES_TOKENS, EndReason, Session
from manager_agent.session.trespassers import trespasser_removal

CLEAN_UP_PAUSE, CLEAN_UP_PAUSE_MAX = 30.0, 900.0
"""Seconds until the deletion of a room is retried. Doubles with every failure, up to the maximum."""
AFTER_THE_END = ev.RoomCreated | ev.RoomRefused | ev.Interrupted | ev.CleanUpStarted | ev.CleanedUp | ev.CleanUpFailed
"""Events that still apply when the session is over: responses that were in flight, and the clean-up."""


def apply(session: Session, event: ev.Event) -> Session:
    """The session after `event`; the same object when the event changes nothing."""
    if session.end is not None and not isinstance(event, AFTER_THE_END):
        return session
    changed = _TRANSITIONS[type(event)](session, event)
    if changed is session or changed == session:
        return session
    state = changed.state
    enters = state is not session.state
    if changed.ready_at is None and state in GIVES_TOKENS:
        changed = replace(changed, ready_at=event.at)
    revision = session.revision + 1
    if enters:
        return replace(changed, state_since=event.at, revision=revision, state_revision=revision)
    return changed if _shows_the_same(session, changed) else replace(changed, revision=revision)


def _shows_the_same(one: Session, other: Session) -> bool:
    """Whether clients can't tell them apart. Both are in the same state, and the reason of an end never changes."""
    if one.manager.identity != other.manager.identity:
        return False
    if one.services is other.services:
        return True
    for service, another in zip(one.services, other.services, strict=True):
        if service is not another and not _shows_the_same_service(one, service, other, another):
            return False
    return True


def _shows_the_same_service(one: Session, service: RequiredService, other: Session, another: RequiredService) -> bool:
    """The timeline first: nearly everything that happens to a service is an instant of it."""
    if service.current.timeline != another.current.timeline:
        return False
    return _shown_of(one, service) == _shown_of(other, another)


def _shown_of(session: Session, service: RequiredService) -> tuple[object, ...]:
    """What clients see of it, besides its timeline."""
    return service.service_id, service.attempt, service.state, service.ready_by, session.reason_of(service)


# --- the end ------------------------------------------------------------------------------


def _session_closed(session: Session, event: ev.SessionClosed) -> Session:
    return ended(session, EndReason.CLIENT_GONE if event.by_client_gone else EndReason.CLOSED, event.at)


def _deadline_passed(session: Session, event: ev.DeadlinePassed) -> Session:
    due = deadline(session)
    return ended(session, due[1], event.at) if due and due[0] <= event.at else session


def _clean_up_started(session: Session, event: ev.CleanUpStarted) -> Session:
    end = session.end
    if end is None or end.cleaning_since is not None or event.at < end.retry_at:
        return session
    return replace(session, end=replace(end, cleaning_since=event.at, clean_ups=end.clean_ups + 1))


def _cleaned_up(session: Session, event: ev.CleanedUp) -> Session:
    if session.end is None or session.end.cleaned_at is not None:
        return session
    return replace(session, end=replace(session.end, cleaned_at=event.at, deleting_since=event.deleting_since))


def _clean_up_failed(session: Session, event: ev.CleanUpFailed) -> Session:
    end = session.end
    if end is None or end.cleaning_since is None or end.cleaned_at is not None:
        return session
    pause = doubling(end.clean_ups, first=CLEAN_UP_PAUSE, most=CLEAN_UP_PAUSE_MAX)
    return replace(session, end=replace(end, cleaning_since=None, retry_at=event.at + pause))


# --- the manager ------------------------------------------------------------------------------------


def _manager_dispatched(session: Session, event: ev.ManagerDispatched) -> Session:
    manager = session.manager
    too_soon = manager.attempt > 0 and event.at < min(manager.next_dispatch_at, relief_at(session))
    if event.attempt != manager.attempt + 1 or too_soon:
        return session
    room = session.room.unwatched() if manager.in_charge else session.room
    dispatched = manager.dispatched(event.attempt, event.identity, event.at)
    return replace(_with_stale_manager(session), manager=dispatched, room=room)


def _manager_due(session: Session, event: ev.ManagerDue) -> Session:
    return replace(session, manager=session.manager.due(event.at))


def _job_accepted(session: Session, event: ev.JobAccepted) -> Session:
    return replace(session, manager=session.manager.accepted(event.identity, event.at))


def _manager_waited(session: Session, event: ev.ManagerWaited) -> Session:
    return session if session.over else replace(session, manager=session.manager.waited(event.identity, event.at))


def _manager_failed(session: Session, event: ev.ManagerFailed) -> Session:
    manager = session.manager
    if not manager.in_charge or event.identity != manager.identity:
        return session
    if session.room.reported_closed:
        session = room_gone(session, event.at)
    if session.over:
        return session
    return replace(_with_stale_manager(session), manager=manager.gone(event.at), room=session.room.unwatched())


def _with_stale_manager(session: Session) -> Session:
    """Mark the manager in charge as stale: an abandoned connect may still join the room as a second manager."""
    manager = session.manager
    if manager.identity is None or not manager.in_charge:
        return session
    return make_stale(session, StaleParticipant(manager.identity, manager.presence))


def _removal_started(session: Session, event: ev.RemovalStarted) -> Session:
    return trespasser_removal(session, event) if event.trespasser else removal_started(session, event)


def _removal_ended(session: Session, event: ev.RemovalEnded) -> Session:
    return trespasser_removal(session, event) if event.trespasser else removal_ended(session, event)


# --- how the room is watched -------------------------------------------------------------------------


def _webhook_arrived(session: Session, _: ev.WebhookArrived) -> Session:
    return session if session.webhooks_arrive else replace(session, webhooks_arrive=True)


def _listing_started(session: Session, event: ev.ListingStarted) -> Session:
    if session.listing_since is not None or event.at <= max(session.listed_at or -math.inf, session.listed_as_of):
        return session
    return replace(session, listing_since=event.at)


def _listing_failed(session: Session, event: ev.ListingFailed) -> Session:
    if event.asked_at != session.listing_since:
        return session
    failures = session.listing_failures + 1
    room = session.room.answered()
    return replace(session, room=room, listing_since=None, listing_failures=failures, listed_at=event.at)


_TRANSITIONS: Mapping[type, Callable[[Session, Any], Session]] = {
    ev.RoomRequested: room_requested,
    ev.RoomCreated: room_created,
    ev.RoomRefused: room_refused,
    ev.RoomClosed: room_closed,
    ev.RoomMissed: room_missed,
    ev.RoomListed: room_listed,
    ev.ManagerDispatched: _manager_dispatched,
    ev.ManagerDue: _manager_due,
    ev.Interrupted: interrupted,
    ev.JobAccepted: _job_accepted,
    ev.ManagerWaited: _manager_waited,
    ev.ManagerFailed: _manager_failed,
    ev.InviteStarted: invite_started,
    ev.InviteAccepted: invite_accepted,
    ev.InviteRefused: invite_refused,
    ev.ServiceSignalled: service_signalled,
    ev.ParticipantSeen: participant_seen,
    ev.ParticipantLeft: participant_left,
    ev.WebhookArrived: _webhook_arrived,
    ev.ReplacementHeld: replacement_held,
    ev.RemovalStarted: _removal_started,
    ev.RemovalEnded: _removal_ended,
    ev.ListingStarted: _listing_started,
    ev.ListingFailed: _listing_failed,
    ev.DeadlinePassed: _deadline_passed,
    ev.SessionClosed: _session_closed,
    ev.TokenGiven: token_given,
    ev.CleanUpStarted: _clean_up_started,
    ev.CleanedUp: _cleaned_up,
    ev.CleanUpFailed: _clean_up_failed,
}
"""The transition of each event type."""
