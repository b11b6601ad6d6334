"""What each event does to the services of a session: invites, signals, joins, leaves, replacements.

PURE. Used by transitions.py, which has the table of all event types.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from manager_agent.backoff import backoff
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.deadlines import appearance_deadlines
from manager_agent.session.events import Evidence, ParticipantInfo, ReadyOn, Signal
from manager_agent.session.overlooked import services_apart
from manager_agent.session.participant import Presence, StaleParticipant
from manager_agent.session.required_service import RequiredService
from manager_agent.session.retries import returns_until
from manager_agent.session.session import Session

STATE_ATTRIBUTE = "session.state"
"""The participant attribute with which an invited service can signal `ready`, `failed` or `draining`."""
AGENT_STATE_ATTRIBUTE = "lk.agent.state"
AGENT_NOT_UP_YET = ("", "initializing")
STALE_PARTICIPANTS_KEPT = 32
LAST_ANSWER_GRACE = 0.5
"""Seconds that a replaced service stays in the room, so that one that signaled its failure by RPC still gets the reply
instead of an error."""


def invite_started(session: Session, event: ev.InviteStarted) -> Session:
    service = session.services[event.entry]
    current = service.current
    if current.in_flight:
        return session
    if event.attempt == current.number + 1 and event.tries == 1:
        started = service.next_attempt(event.identity, event.invite_id, event.at, event.instead)
        return _with_service(_make_attempt_stale(session, current, event.at), event.entry, started)
    again = event.attempt == current.number and event.tries == current.tries + 1
    if not again or not current.may_be_asked_again:
        return session
    resent = replace(current, tries=event.tries, in_flight=True, is_interrupted=False, resent_at=event.at)
    return with_attempt(session, event.entry, resent)


def _make_attempt_stale(session: Session, attempt: Attempt, at: float) -> Session:
    is_late_agent = attempt.instance.agent_name is not None and not attempt.has_appeared
    if attempt.identity is None or is_late_agent:  # a late agent does for the next attempt
        return session
    stale = StaleParticipant(
        attempt.identity,
        attempt.presence,
        not_before=at + LAST_ANSWER_GRACE,
        service_id=attempt.instance.service_id,
        attempt=attempt.number,
    )
    return make_stale(session, stale)


def make_stale(session: Session, stale: StaleParticipant) -> Session:
    """Record a participant of an attempt that is over as stale, whether it is in the room or may still join."""
    if session.is_stale(stale.identity):
        return session
    kept = (*session.stale_participants, stale)[-STALE_PARTICIPANTS_KEPT:]
    return replace(session, stale_participants=kept)


def invite_accepted(session: Session, event: ev.InviteAccepted) -> Session:
    attempt = _invited(session, event)
    if attempt is None:
        return session
    timeline = replace(attempt.timeline, accepted=attempt.timeline.accepted or event.at)
    accepted = replace(attempt, in_flight=False, refusal=None, refusal_detail=None, timeline=timeline)
    if attempt.identity is None and event.identity is not None and not session.is_stale(event.identity):
        accepted = replace(accepted, identity=event.identity)
    return with_attempt(session, event.entry, accepted)


def invite_refused(session: Session, event: ev.InviteRefused) -> Session:
    attempt = _invited(session, event)
    if attempt is None:
        return session
    pause = backoff(attempt.invite_id, attempt.number + attempt.tries - 1)
    refused = replace(
        attempt,
        in_flight=False,
        refusal=event.why,
        refusal_detail=event.detail,
        refused_at=event.at,
        retry_at=math.inf if event.final else event.at + pause,
        was_accepted=attempt.was_accepted or attempt.timeline.accepted is not None,
        timeline=replace(attempt.timeline, accepted=None),  # the instance has forgotten the invite that it accepted
    )
    return with_attempt(session, event.entry, refused)


def replacement_held(session: Session, event: ev.ReplacementHeld) -> Session:
    attempt = session.services[event.entry].current
    if event.attempt != attempt.number or event.until <= attempt.held_until:
        return session
    return with_attempt(session, event.entry, replace(attempt, held_until=event.until))


def removal_started(session: Session, event: ev.RemovalStarted) -> Session:
    def started(stale: StaleParticipant) -> StaleParticipant:
        sid = stale.presence.sid
        if stale.removing or sid is None:
            return stale
        return replace(stale, removing=sid, removals=stale.removals.started(sid))

    return with_stale_participant(session, event.identity, started)


def removal_ended(session: Session, event: ev.RemovalEnded) -> Session:
    def ended(stale: StaleParticipant) -> StaleParticipant:
        if stale.removing is None:
            return stale
        presence = stale.presence.left(stale.removing, event.at) if event.removed else stale.presence
        return replace(stale, removing=None, presence=presence, removals=stale.removals.ended(event.at))

    return with_stale_participant(session, event.identity, ended)


def with_stale_participant(
    session: Session, identity: str, change: Callable[[StaleParticipant], StaleParticipant]
) -> Session:
    changed = tuple(change(one) if one.identity == identity else one for one in session.stale_participants)
    return session if changed == session.stale_participants else replace(session, stale_participants=changed)


def _invited(session: Session, event: ev.InviteAccepted | ev.InviteRefused) -> Attempt | None:
    """The attempt whose invite has this outcome; None for an older try, an older attempt, or a repeated outcome."""
    attempt = session.services[event.entry].current
    is_current = (event.attempt, event.tries) == (attempt.number, attempt.tries)
    return attempt if is_current and attempt.in_flight else None


def service_signalled(session: Session, event: ev.ServiceSignalled) -> Session:
    entry = session.entry_of(event.identity)
    if entry is None:
        return session
    attempt = session.services[entry].current
    is_in_room = event.evidence is not Evidence.HTTP
    if attempt.reported_failure or attempt.lost or (attempt.never_joined and not is_in_room):
        return session
    if event.signal is Signal.FAILED:
        return with_attempt(session, entry, _reported_failure(attempt, event.at, event.detail))
    if event.signal is Signal.READY:
        if is_in_room and attempt.timeline.joined is None:
            attempt = _came(attempt, event.at)
        return with_attempt(session, entry, _ready(attempt, event.evidence, event.at))
    return session


def service_seen(session: Session, entry: int, seen: ParticipantInfo, presence: Presence, at: float) -> Session:
    """`presence`: that of the service after it was seen."""
    attempt = session.services[entry].current
    if presence.sid != seen.sid:  # an older participant, or one that is known to have left
        if presence.here or attempt.lost:
            return session
        timeline = replace(attempt.timeline, joined=attempt.timeline.joined or at)
        return with_attempt(session, entry, lost(replace(attempt, timeline=timeline), at))
    if presence.sid == attempt.presence.sid:
        attempt = attempt if presence is attempt.presence else replace(attempt, presence=presence)
    elif attempt.lost and attempt.presence.last is not None and attempt.presence.last.sid == seen.sid:
        attempt = _returned(attempt, presence)
    else:
        attempt = _joined(attempt, presence, at)
    signal, agent_state = seen.attributes.get(STATE_ATTRIBUTE), seen.attributes.get(AGENT_STATE_ATTRIBUTE, "")
    if signal == Signal.FAILED and not attempt.reported_failure:
        attempt = _reported_failure(attempt, at)
    elif signal == Signal.READY or (attempt.instance.agent_name and agent_state not in AGENT_NOT_UP_YET):
        attempt = _ready(attempt, Evidence.ATTRIBUTE, at)
    return with_attempt(session, entry, attempt)


def _joined(attempt: Attempt, presence: Presence, at: float) -> Attempt:
    """The service joined as a participant that was not known before."""
    timeline, ready_by, was_ready = attempt.timeline, attempt.ready_by, attempt.was_ready
    if attempt.lost or attempt.presence.here:  # rejoined as another participant: its earlier signals no longer count
        ready_by, was_ready = None, was_ready or timeline.ready is not None
        timeline = replace(timeline, joined=at, ready=None, left=None)
    attempt = replace(attempt, presence=presence, timeline=timeline, ready_by=ready_by, was_ready=was_ready)
    if timeline.joined is None:
        attempt = _came(attempt, at)
    return _ready(attempt, Evidence.JOIN, at) if attempt.instance.ready_on is ReadyOn.JOIN else attempt


def _came(attempt: Attempt, at: float) -> Attempt:
    """It is in the room for the first time. That it was late no longer counts, and an earlier signal still does."""
    failed = None if attempt.never_joined else attempt.timeline.failed
    return replace(attempt, never_joined=False, timeline=replace(attempt.timeline, joined=at, failed=failed))


def fail_unseen_services(session: Session, event: ev.RoomListed, previous_as_of: float) -> Session:
    """Fail each service that signaled ready by HTTP and was in no listing since: the previous one (requested at
    `previous_as_of`) and this one, requested when its time was over."""
    for entry, due in list(appearance_deadlines(session)):
        attempt = session.services[entry].current
        since = attempt.unseen_since
        if since is None or attempt.identity in event.joining:
            continue
        if previous_as_of >= since and event.asked_at >= due:
            timeline = replace(attempt.timeline, failed=event.at)
            session = with_attempt(session, entry, replace(attempt, never_joined=True, timeline=timeline))
    return session


def lose_services_apart(session: Session, event: ev.RoomListed) -> Session:
    """Lose each service of which this listing confirms that it is apart from the others in the room."""
    for entry, due in list(services_apart(session)):
        if event.asked_at >= due:
            session = with_attempt(session, entry, lost(session.services[entry].current, event.at))
    return session


def _returned(attempt: Attempt, presence: Presence) -> Attempt:
    """The same participant is still there: its loss was reported in error, and what it signaled before counts."""
    timeline = replace(attempt.timeline, left=None)
    return replace(attempt, presence=presence, timeline=timeline, ready_by=attempt.ready_before_loss)


def service_left(session: Session, entry: int, presence: Presence, at: float) -> Session:
    attempt = session.services[entry].current
    if presence is attempt.presence:
        return session
    left = replace(attempt, presence=presence)
    return with_attempt(session, entry, lost(left, at) if attempt.presence.here and not presence.here else left)


def service_cut_off(session: Session, identity: str, at: float) -> Session:
    """What has left, if it is a service, lost its connection together with others, and may be about to return."""
    entry = session.entry_of(identity)
    attempt = None if entry is None else session.services[entry].current
    if entry is None or attempt is None or not attempt.lost:
        return session
    return with_attempt(
        session, entry, replace(attempt, held_until=max(attempt.held_until, returns_until(session, at)))
    )


def lost(attempt: Attempt, at: float) -> Attempt:
    timeline = replace(attempt.timeline, left=at)
    return replace(attempt, ready_by=None, ready_before_loss=attempt.ready_by, timeline=timeline)


def _ready(attempt: Attempt, evidence: Evidence, at: float) -> Attempt:
    if attempt.ready_by is not None or attempt.reported_failure:
        return attempt
    return replace(attempt, ready_by=evidence, timeline=replace(attempt.timeline, ready=at))


def _reported_failure(attempt: Attempt, at: float, detail: str | None = None) -> Attempt:
    timeline = replace(attempt.timeline, failed=at)
    return replace(attempt, reported_failure=True, failure_detail=detail, ready_by=None, timeline=timeline)


def with_attempt(session: Session, entry: int, attempt: Attempt) -> Session:
    """The session with this attempt as the current one of an entry."""
    service = session.services[entry]
    return session if attempt is service.current else _with_service(session, entry, replace(service, current=attempt))


def _with_service(session: Session, entry: int, service: RequiredService) -> Session:
    services = (*session.services[:entry], service, *session.services[entry + 1 :])
    return replace(session, services=services)
