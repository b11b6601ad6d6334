"""What joins, leaves and listings do to a session: the user, the manager, services, and stale participants.

PURE. Used by transitions.py, which has the table of all event types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.guests import guest_left, guest_seen
from manager_agent.session.participant import Presence, StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.service_transitions import (
    fail_unseen_services,
    lost,
    make_stale,
    service_left,
    service_seen,
    with_attempt,
    with_stale_participant,
)
from manager_agent.session.session import OUR_IDENTITIES, Session, index_of
from manager_agent.session.trespassers import is_trespasser, trespasser_left, trespasser_seen

AGENT_NAME_ATTRIBUTES = ("lk.agent_name", "lk.agent.name")
"""The first is written by livekit-server (since 1.9.2, livekit#3914) for every dispatched agent, in whatever language;
the second by the Python SDK. Only the holder of LiveKit's secret can make a participant of kind AGENT."""


def participant_seen(session: Session, event: ev.ParticipantSeen) -> Session:
    if is_trespasser(session, event.participant):
        return trespasser_seen(session, event.participant)
    return _seen(session, event.participant, event.at)


def _seen(session: Session, seen: ParticipantInfo, at: float) -> Session:
    session = _left(session, seen.identity, lambda presence: presence.overtaken(seen.sid, seen.joined_ms), at)
    if seen.identity == session.user.identity:
        if seen.is_ringing:
            return session
        presence = session.user_presence.seen(seen.sid, seen.joined_ms, at)
        joined_at = at if session.user_joined_at is None and presence.here else session.user_joined_at
        return replace(session, user_presence=presence, user_joined_at=joined_at)
    if session.guest(seen.identity) is not None:
        return guest_seen(session, seen, at)
    manager = session.manager
    if seen.identity == manager.identity and manager.in_charge:
        return replace(session, manager=manager.seen(manager.presence.seen(seen.sid, seen.joined_ms, at), at))
    if session.is_stale(seen.identity):
        return with_stale_participant(
            session,
            seen.identity,
            lambda stale: replace(stale, presence=stale.presence.seen(seen.sid, seen.joined_ms, at)),
        )
    entry = session.entry_of(seen.identity)
    if entry is None and seen.is_agent and not seen.identity.startswith(OUR_IDENTITIES):
        session, entry = _match_dispatched_agent(session, seen)
        if entry is None and _is_surplus_agent(session, seen):
            return make_stale(session, StaleParticipant(seen.identity, Presence().seen(seen.sid, seen.joined_ms, at)))
    return session if entry is None else service_seen(session, entry, seen, at)


def _match_dispatched_agent(session: Session, seen: ParticipantInfo) -> tuple[Session, int | None]:
    """An agent that LiveKit dispatched for us has an identity assigned by LiveKit: recognize it by its agent name."""
    names = _agent_names(seen)

    def awaited(service: RequiredService) -> bool:
        known = service.presence.here or seen.sid in service.presence.gone
        return service.agent_name in names and service.attempt > 0 and not known

    entry = index_of(session.services, awaited)
    if entry is not None:
        attempt = session.services[entry].current
        presence = replace(attempt.presence, joined_ms=0)  # instants only order the joins of the same identity
        session = with_attempt(session, entry, replace(attempt, identity=seen.identity, presence=presence))
    return session, entry


def _is_surplus_agent(session: Session, seen: ParticipantInfo) -> bool:
    """An agent that joined for our dispatch although its entry already has one: it was dispatched twice."""
    names = _agent_names(seen)
    same = [service for service in session.services if service.agent_name in names and service.attempt > 0]
    return bool(same) and all(s.presence.here and seen.sid not in s.presence.gone for s in same)


def _agent_names(seen: ParticipantInfo) -> frozenset[str]:
    return frozenset(name for key in AGENT_NAME_ATTRIBUTES if (name := seen.attributes.get(key)))


def participant_left(session: Session, event: ev.ParticipantLeft) -> Session:
    session = trespasser_left(session, event.sid)
    if session.entry_of(event.identity) is None:
        session = _unknown_left(session, event.sid)
    left = _left(session, event.identity, lambda presence: presence.left(event.sid), event.at)
    return replace(left, user_left_at=session.user_left_at) if event.aborted else left


def _unknown_left(session: Session, sid: str) -> Session:
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
    if session.guest(identity) is not None:
        return guest_left(session, identity, leave, at)
    if identity == session.manager.identity and session.manager.in_charge:
        return replace(session, manager=session.manager.left(leave(session.manager.presence), at))
    if session.is_stale(identity):
        return with_stale_participant(session, identity, lambda stale: replace(stale, presence=leave(stale.presence)))
    entry = session.entry_of(identity)
    if entry is None:
        return session
    return service_left(session, entry, leave(session.services[entry].presence), at)


def room_listed(session: Session, event: ev.RoomListed) -> Session:
    if event.asked_at == session.listing_since:
        session = replace(session, listing_since=None, listing_failures=0, listed_at=event.at)
    if event.asked_at < session.listed_as_of:
        return session
    previous_as_of = session.listed_as_of
    session = replace(session, listed_as_of=event.asked_at)
    here = [seen for seen in event.participants if not is_trespasser(session, seen)]
    listed = {seen.identity for seen in here} | set(event.joining)
    known = [session.user.identity, session.manager.identity, *(s.identity for s in session.services)]
    known += [guest.identity for guest in session.guests]
    known += [stale.identity for stale in session.stale_participants]
    for identity in known:
        if identity and identity not in listed:
            session = _left(session, identity, lambda presence: presence.not_listed(event.asked_at), event.at)
    for entry, service in enumerate(session.services):
        if service.identity not in listed and _signaled_before(service.current, event.asked_at):
            session = with_attempt(session, entry, lost(service.current, event.at))
    for seen in here:  # last: a listed participant may replace one that is gone
        session = _seen(session, seen, event.at)
    for seen in event.participants:
        if is_trespasser(session, seen):
            session = trespasser_seen(session, seen)
    return fail_unseen_services(session, event, previous_as_of)


def _signaled_before(attempt: Attempt, asked_at: float) -> bool:
    """Whether it sent a signal in the room before that instant, although its join was never reported."""
    joined = attempt.timeline.joined
    return not attempt.presence.here and not attempt.lost and joined is not None and joined < asked_at
