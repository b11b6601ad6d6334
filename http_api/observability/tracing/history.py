"""The spans that a change of a session ends.

    session                   from the request until its end
     |- create room
     |- make room again       one for each time that LiveKit was asked
     |- dispatch manager      until a manager is in the room; one for each dispatch
     |- attempt ASR           from the invite until the next attempt, or the end of the session
     |   |- invite            one for each try
     |   |- join              from the response to the invite
     |   `- ready             from the join
     |- token                 requests.py
     `- clean up              after the end

Every step that has begun ends once: when it is done, when its attempt has failed, or with the session. Events can
arrive out of order: a span that would end before it begins gets a duration of zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from http_api.observability.tracing.spans import Attribute, Span, SpanRole, attempt_trace, session_trace
from manager_agent.session.attempt import Attempt, ServiceReason
from manager_agent.session.change_values import (
    AttemptEnded,
    AttemptStep,
    CleanUpEnded,
    InviteAbandoned,
    InviteAnswered,
    ManagerDispatchEnded,
    RoomAnswered,
    SessionChange,
    SessionEnded,
    StepTaken,
)
from manager_agent.session.session import FAILURES, EndReason, Session
from manager_agent.store.store import Change
from manager_agent.traceparent import TraceContext

NO_MANAGER, NAME_TAKEN, NOT_DELETED = "manager_did_not_come", "room_name_taken", "room_not_deleted"
REPLACED = "replaced"
"""Errors that are not a reason of the session or of a service."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """A session after a change, the instant of the change, and the context of the session's span."""

    session: Session
    at: float
    trace: TraceContext


def spans_of(change: Change) -> Iterator[Span]:
    """The spans that this change ends, in no particular order; none if the session is not traced."""
    trace = session_trace(change.session)
    if trace is None or not trace.sampled or change.event is None:
        return
    moment = _Moment(change.session, change.event.at, trace)
    for part in change.parts:
        yield from _spans(moment, part)


def _spans(moment: _Moment, part: SessionChange) -> Iterator[Span]:
    match part:
        case RoomAnswered():
            yield _room(moment, part)
        case ManagerDispatchEnded():
            yield _dispatch(moment, part)
        case InviteAnswered(entry):
            attempt = moment.session.services[entry].current
            yield _invite(moment, attempt_trace(moment.session, attempt), attempt, moment.at, attempt.refusal)
        case InviteAbandoned(entry):
            attempt = moment.session.services[entry].current
            trace = attempt_trace(moment.session, attempt)
            yield _invite(moment, trace, attempt, moment.at, ServiceReason.ROOM_LOST)
        case StepTaken(step=AttemptStep.JOINED | AttemptStep.READY):
            yield _step(moment, part)
        case AttemptEnded():
            yield from _attempt(moment, part)
        case SessionEnded(reason):
            yield _session(moment, reason)
        case CleanUpEnded(since, tries, failed):
            error = NOT_DELETED if failed else None
            yield _span(moment, "clean up", moment.trace, since, moment.at, {"tries": tries}, error)


def _room(moment: _Moment, answered: RoomAnswered) -> Span:
    room = moment.session.room
    is_refused = room.refused or room.taken or room.refusals > 0
    error = (NAME_TAKEN if room.taken else EndReason.ROOM_UNAVAILABLE) if is_refused else None
    name = "make room again" if answered.again else "create room"
    about = {"sid": room.sid or None, "remakes": room.remakes or None}
    return _span(moment, name, moment.trace, answered.since, moment.at, about, error, SpanRole.CLIENT)


def _dispatch(moment: _Moment, ended: ManagerDispatchEnded) -> Span:
    about = {"attempt": ended.attempt, "identity": ended.identity}
    error = NO_MANAGER if ended.failed else None
    return _span(moment, "dispatch manager", moment.trace, ended.since, moment.at, about, error)


def _session(moment: _Moment, reason: EndReason) -> Span:
    session = moment.session
    ready_after = None if session.ready_at is None else session.ready_at - session.created_at
    about = {"room": session.room_name, "state": session.state, "reason": reason, "ready_after": ready_after}
    error = reason if reason in FAILURES else None
    return _span(moment, "session", session.trace, session.created_at, moment.at, about, error, context=moment.trace)


def _step(moment: _Moment, taken: StepTaken) -> Span:
    """The join or the preparation of an attempt that continues."""
    attempt = moment.session.services[taken.entry].current
    trace = attempt_trace(moment.session, attempt)
    if taken.step is AttemptStep.JOINED:
        return _span(moment, "join", trace, taken.since, taken.at)
    return _span(moment, "ready", trace, taken.since, taken.at, {"evidence": attempt.ready_by})


def _attempt(moment: _Moment, ended: AttemptEnded) -> Iterator[Span]:
    """An attempt that is over, and the step that was in progress."""
    attempt, known = ended.attempt, ended.attempt.timeline
    error = REPLACED if ended.end is None and ended.reason is None else ended.reason
    trace = attempt_trace(moment.session, attempt)
    until = max(moment.at, *known.known.values())
    if attempt.in_flight:
        yield _invite(moment, trace, attempt, until, error)
    elif known.accepted is not None and known.joined is None:
        yield _span(moment, "join", trace, known.accepted, until, error=error)
    elif known.joined is not None and known.ready is None and not attempt.lost:
        yield _span(moment, "ready", trace, known.joined, until, error=error)
    about: dict[str, Attribute | None] = {
        "service_id": attempt.instance.service_id,
        "type": attempt.instance.type,
        "attempt": attempt.number,
        "tries": attempt.tries,
        "optional": moment.session.services[ended.entry].optional,
        "state": attempt.state,
        "evidence": attempt.ready_by,
        "reason": error,
    }
    name = f"attempt {attempt.instance.type}"
    yield _span(moment, name, moment.trace, attempt.invited_at, until, about, error, context=trace)


def _invite(moment: _Moment, trace: TraceContext | None, attempt: Attempt, until: float, error: str | None) -> Span:
    """The current try."""
    sent_at = max(attempt.invited_at, attempt.resent_at)
    return _span(moment, "invite", trace, sent_at, until, {"tries": attempt.tries}, error, SpanRole.CLIENT)


def _span(
    moment: _Moment,
    name: str,
    parent: TraceContext | None,
    start: float,
    end: float,
    about: Mapping[str, Attribute | None] | None = None,
    error: str | None = None,
    kind: SpanRole = SpanRole.INTERNAL,
    context: TraceContext | None = None,
) -> Span:
    attributes: dict[str, Attribute] = {"session_id": moment.session.session_id}
    attributes |= {name: value for name, value in (about or {}).items() if value is not None}
    return Span(name, parent, start, max(start, end), attributes, error, kind, context)
