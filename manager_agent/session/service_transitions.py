"""What each event does to the services of a session: invited, heard, seen, gone, replaced.

PURE. Used by transitions.py, which has the table of all events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from manager_agent.backoff import backoff
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, ParticipantInfo, ReadyOn, Signal
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, StaleParticipant

STATE_ATTRIBUTE = "session.state"
"""The participant attribute in which an invited service may say `ready`, `failed` or `draining`."""
AGENT_STATE_ATTRIBUTE = "lk.agent.state"
AGENT_NOT_UP_YET = ("", "initializing")
STALE_PARTICIPANTS_KEPT = 32
LAST_ANSWER_GRACE = 0.5
"""Seconds that a service which was replaced stays in the room: one that says by RPC that it failed is owed the answer,
and one that is removed before gets an error instead."""


def invite_started(session: Session, event: ev.InviteStarted) -> Session:
    service = session.services[event.entry]
    if service.in_flight:
        return session
    if event.attempt == service.attempt + 1 and event.tries == 1:
        started = service.next_attempt(event.identity, event.invite_id, event.at, event.instead)
        return with_service(_make_service_stale(session, service, event.at), event.entry, started)
    again = event.attempt == service.attempt and event.tries == service.tries + 1
    if not again or not service.may_be_asked_again:
        return session
    resent = replace(service, tries=event.tries, in_flight=True, resent_at=event.at)
    return with_service(session, event.entry, resent)


def _make_service_stale(session: Session, service: RequiredService, at: float) -> Session:
    if service.identity is None:
        return session
    not_before = at + LAST_ANSWER_GRACE
    stale_participant = StaleParticipant(
        service.identity, service.presence, not_before, service_id=service.service_id, attempt=service.attempt
    )
    return make_stale(session, stale_participant)


def make_stale(session: Session, stale_participant: StaleParticipant) -> Session:
    """Whoever has, or may still get, into the room for an attempt that is over is not wanted there any more."""
    if session.is_stale(stale_participant.identity):
        return session
    return replace(
        session, stale_participants=(*session.stale_participants, stale_participant)[-STALE_PARTICIPANTS_KEPT:]
    )


def invite_accepted(session: Session, event: ev.InviteAccepted) -> Session:
    service = _invited(session, event)
    if service is None:
        return session
    timeline = replace(service.timeline, accepted=service.timeline.accepted or event.at)
    return with_service(session, event.entry, replace(service, in_flight=False, refusal=None, timeline=timeline))


def invite_refused(session: Session, event: ev.InviteRefused) -> Session:
    service = _invited(session, event)
    if service is None:
        return session
    pause = backoff(service.invite_id, service.attempt + service.tries - 1)
    refused = replace(
        service,
        in_flight=False,
        refusal=event.why,
        refused_at=event.at,
        retry_at=math.inf if event.final else event.at + pause,
        was_accepted=service.was_accepted or service.timeline.accepted is not None,
        timeline=replace(service.timeline, accepted=None),  # if it had, it knows nothing of it any more
    )
    return with_service(session, event.entry, refused)


def replacement_held(session: Session, event: ev.ReplacementHeld) -> Session:
    service = session.services[event.entry]
    if event.attempt != service.attempt or event.until <= service.held_until:
        return session
    return with_service(session, event.entry, replace(service, held_until=event.until))


def removal_started(session: Session, event: ev.RemovalStarted) -> Session:
    def started(stale_participant: StaleParticipant) -> StaleParticipant:
        return (
            stale_participant
            if stale_participant.removing
            else replace(stale_participant, removing=stale_participant.presence.sid)
        )

    return with_stale_participant(session, event.identity, started)


def removal_ended(session: Session, event: ev.RemovalEnded) -> Session:
    def ended(stale_participant: StaleParticipant) -> StaleParticipant:
        if stale_participant.removing is None:
            return stale_participant
        presence = (
            stale_participant.presence.left(stale_participant.removing) if event.removed else stale_participant.presence
        )
        return replace(stale_participant, removing=None, presence=presence)

    return with_stale_participant(session, event.identity, ended)


def with_stale_participant(
    session: Session, identity: str, change: Callable[[StaleParticipant], StaleParticipant]
) -> Session:
    stale_participants = tuple(change(o) if o.identity == identity else o for o in session.stale_participants)
    return (
        session
        if stale_participants == session.stale_participants
        else replace(session, stale_participants=stale_participants)
    )


def _invited(session: Session, event: ev.InviteAccepted | ev.InviteRefused) -> RequiredService | None:
    """The service whose invite this is the outcome of; None for an older try, an older attempt, a second time."""
    service = session.services[event.entry]
    current = (event.attempt, event.tries) == (service.attempt, service.tries)
    return service if current and service.in_flight else None


def service_signalled(session: Session, event: ev.ServiceSignalled) -> Session:
    entry = session.entry_of(event.identity)
    if entry is None:
        return session
    service = session.services[entry]
    if service.reported_failure or service.lost:
        return session
    if event.signal is Signal.FAILED:
        return with_service(session, entry, _reported_failure(service, event.at))
    if event.signal is Signal.READY:
        if event.evidence is not Evidence.HTTP and service.timeline.joined is None:
            service = replace(service, timeline=replace(service.timeline, joined=event.at))
        return with_service(session, entry, _ready(service, event.evidence, event.at))
    return session


def service_seen(session: Session, entry: int, seen: ParticipantInfo, at: float) -> Session:
    service = session.services[entry]
    presence = service.presence.seen(seen.sid, seen.joined_ms, at)
    if presence.sid != seen.sid:  # an older one of the same identity, or one that is known to have left
        if presence.here or service.lost:
            return session
        timeline = replace(service.timeline, joined=service.timeline.joined or at)
        return with_service(session, entry, lost(replace(service, timeline=timeline), at))
    if presence is not service.presence:
        service = _joined(service, presence, at)
    signal = seen.attributes.get(STATE_ATTRIBUTE)
    up = service.agent_name and seen.attributes.get(AGENT_STATE_ATTRIBUTE, "") not in AGENT_NOT_UP_YET
    if signal == Signal.FAILED and not service.reported_failure:
        service = _reported_failure(service, at)
    elif signal == Signal.READY or up:
        service = _ready(service, Evidence.ATTRIBUTE, at)
    return with_service(session, entry, service)


def _joined(service: RequiredService, presence: Presence, at: float) -> RequiredService:
    """It is here as a participant that was not known before."""
    timeline, ready_by, was_ready = service.timeline, service.ready_by, service.was_ready
    if service.lost or service.presence.here:  # come back as somebody new: what was said before is void
        ready_by, was_ready = None, was_ready or timeline.ready is not None
        timeline = replace(timeline, joined=at, ready=None, left=None)
    elif timeline.joined is None:
        timeline = replace(timeline, joined=at)
    service = replace(service, presence=presence, timeline=timeline, ready_by=ready_by, was_ready=was_ready)
    return _ready(service, Evidence.JOIN, at) if service.ready_on is ReadyOn.JOIN else service


def service_left(session: Session, entry: int, presence: Presence, at: float) -> Session:
    service = session.services[entry]
    was_here = service.presence.here
    service = replace(service, presence=presence)
    return with_service(session, entry, lost(service, at) if was_here and not presence.here else service)


def lost(service: RequiredService, at: float) -> RequiredService:
    return replace(service, ready_by=None, timeline=replace(service.timeline, left=at))


def _ready(service: RequiredService, evidence: Evidence, at: float) -> RequiredService:
    if service.ready_by is not None or service.reported_failure:
        return service
    return replace(service, ready_by=evidence, timeline=replace(service.timeline, ready=at))


def _reported_failure(service: RequiredService, at: float) -> RequiredService:
    return replace(service, reported_failure=True, ready_by=None, timeline=replace(service.timeline, failed=at))


def with_service(session: Session, entry: int, service: RequiredService) -> Session:
    if service is session.services[entry]:
        return session
    services = (*session.services[:entry], service, *session.services[entry + 1 :])
    return replace(session, services=services)
