"""What each event does to the services of a session: invited, heard, seen, gone, replaced.

PURE. Used by transitions.py, which has the table of all events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from manager_agent.session import events as ev
from manager_agent.session.dispatch import backoff
from manager_agent.session.events import Evidence, ReadyOn, Said, Seen
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Outcast, Session

STATE_ATTRIBUTE = "session.state"
"""The participant attribute in which an invited service may say `ready`, `failed` or `draining`."""
AGENT_STATE_ATTRIBUTE = "lk.agent.state"
AGENT_NOT_UP_YET = ("", "initializing")
OUTCASTS_KEPT = 32
LAST_ANSWER_GRACE = 0.5
"""Seconds that a service which was replaced stays in the room: one that says by RPC that it failed is owed the answer,
and one that is removed before gets an error instead."""


def invite_started(session: Session, event: ev.InviteStarted) -> Session:
    service = session.services[event.entry]
    if service.in_flight:
        return session
    if event.attempt == service.attempt + 1 and event.tries == 1:
        started = service.next_attempt(event.identity, event.invite_id, event.at, event.instead)
        return with_service(_cast_out_service(session, service, event.at), event.entry, started)
    again = event.attempt == service.attempt and event.tries == service.tries + 1
    if not again or not service.may_be_asked_again:
        return session
    resent = replace(service, tries=event.tries, in_flight=True, resent_at=event.at)
    return with_service(session, event.entry, resent)


def _cast_out_service(session: Session, service: RequiredService, at: float) -> Session:
    if service.identity is None:
        return session
    not_before = at + LAST_ANSWER_GRACE
    outcast = Outcast(
        service.identity, service.presence, not_before, service_id=service.service_id, attempt=service.attempt
    )
    return cast_out(session, outcast)


def cast_out(session: Session, outcast: Outcast) -> Session:
    """Whoever has, or may still get, into the room for an attempt that is over is not wanted there any more."""
    if session.is_outcast(outcast.identity):
        return session
    return replace(session, outcasts=(*session.outcasts, outcast)[-OUTCASTS_KEPT:])


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
    def started(outcast: Outcast) -> Outcast:
        return outcast if outcast.removing else replace(outcast, removing=outcast.presence.sid)

    return with_outcast(session, event.identity, started)


def removal_ended(session: Session, event: ev.RemovalEnded) -> Session:
    def ended(outcast: Outcast) -> Outcast:
        if outcast.removing is None:
            return outcast
        presence = outcast.presence.left(outcast.removing) if event.removed else outcast.presence
        return replace(outcast, removing=None, presence=presence)

    return with_outcast(session, event.identity, ended)


def with_outcast(session: Session, identity: str, change: Callable[[Outcast], Outcast]) -> Session:
    outcasts = tuple(change(o) if o.identity == identity else o for o in session.outcasts)
    return session if outcasts == session.outcasts else replace(session, outcasts=outcasts)


def _invited(session: Session, event: ev.InviteAccepted | ev.InviteRefused) -> RequiredService | None:
    """The service whose invite this is the outcome of; None for an older try, an older attempt, a second time."""
    service = session.services[event.entry]
    current = (event.attempt, event.tries) == (service.attempt, service.tries)
    return service if current and service.in_flight else None


def service_said(session: Session, event: ev.ServiceSaid) -> Session:
    entry = session.entry_of(event.identity)
    if entry is None:
        return session
    service = session.services[entry]
    if service.reported_failure or service.lost:
        return session
    if event.said is Said.FAILED:
        return with_service(session, entry, _reported_failure(service, event.at))
    if event.said is Said.READY:
        if event.evidence is not Evidence.HTTP and service.timeline.joined is None:
            service = replace(service, timeline=replace(service.timeline, joined=event.at))
        return with_service(session, entry, _ready(service, event.evidence, event.at))
    return session


def service_seen(session: Session, entry: int, seen: Seen, at: float) -> Session:
    service = session.services[entry]
    presence = service.presence.seen(seen.sid, seen.joined_ms, at)
    if presence.sid != seen.sid:  # an older one of the same identity, or one that is known to have left
        if presence.here or service.lost:
            return session
        timeline = replace(service.timeline, joined=service.timeline.joined or at)
        return with_service(session, entry, lost(replace(service, timeline=timeline), at))
    if presence is not service.presence:
        service = _joined(service, presence, at)
    said = seen.attributes.get(STATE_ATTRIBUTE)
    up = service.agent_name and seen.attributes.get(AGENT_STATE_ATTRIBUTE, "") not in AGENT_NOT_UP_YET
    if said == Said.FAILED and not service.reported_failure:
        service = _reported_failure(service, at)
    elif said == Said.READY or up:
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
