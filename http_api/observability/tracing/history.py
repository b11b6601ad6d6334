"""The spans that a change of a session ends.

    session                   from when it was asked for until its end
     |- create room
     |- dispatch manager      until a manager is in the room; one for each dispatch
     |- attempt ASR           from the invite until the next attempt, or the end of the session
     |   |- invite            one for each try
     |   |- join              from the answer to the invite
     |   `- ready             from the join
     |- token                 requests.py
     `- clean up              after the end

Every step that has begun ends once: when it is done, when its attempt has failed, or with the session. Events
may overtake one another on their way; a span that would end before it begins takes no time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

from http_api.observability.tracing.spans import Attribute, Kind, Span, attempt_trace, session_trace
from manager_agent.session.attempt import Attempt
from manager_agent.session.change_values import (
    AttemptEnded,
    AttemptStep,
    CleanUpEnded,
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
"""Errors that no reason of the session's says."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A session after a change at this instant, and its own span."""

    session: Session
    at: float
    trace: TraceContext


def spans_of(change: Change) -> Iterator[Span]:
    """The spans that this change ends, in no order; none of a session that is not traced."""
    trace = session_trace(change.session)
    if trace is None or not trace.sampled or change.event is None:
        return
    turn = _Turn(change.session, change.event.at, trace)
    for part in change.parts:
        yield from _spans(turn, part)


def _spans(turn: _Turn, part: SessionChange) -> Iterator[Span]:
    match part:
        case RoomAnswered():
            yield _room(turn)
        case ManagerDispatchEnded():
            yield _dispatch(turn, part)
        case InviteAnswered(entry):
            attempt = turn.session.services[entry].current
            yield _invite(turn, attempt_trace(turn.session, attempt), attempt, turn.at, attempt.refusal)
        case StepTaken(step=AttemptStep.JOINED | AttemptStep.READY):
            yield _step(turn, part)
        case AttemptEnded():
            yield from _attempt(turn, part)
        case SessionEnded(reason):
            yield _session(turn, reason)
        case CleanUpEnded(since, tries, failed):
            error = NOT_DELETED if failed else None
            yield _span(turn, "clean up", turn.trace, since, turn.at, {"tries": tries}, error)


def _room(turn: _Turn) -> Span:
    room = turn.session.room
    error = (NAME_TAKEN if room.taken else EndReason.ROOM_UNAVAILABLE) if room.refused else None
    since = turn.at if room.requested_at is None else room.requested_at
    return _span(turn, "create room", turn.trace, since, turn.at, {"sid": room.sid or None}, error, Kind.CLIENT)


def _dispatch(turn: _Turn, ended: ManagerDispatchEnded) -> Span:
    about = {"attempt": ended.attempt, "identity": ended.identity}
    error = NO_MANAGER if ended.failed else None
    return _span(turn, "dispatch manager", turn.trace, ended.since, turn.at, about, error)


def _session(turn: _Turn, reason: EndReason) -> Span:
    session = turn.session
    ready_after = None if session.ready_at is None else session.ready_at - session.created_at
    about = {"room": session.room_name, "state": session.state, "reason": reason, "ready_after": ready_after}
    error = reason if reason in FAILURES else None
    return _span(turn, "session", session.trace, session.created_at, turn.at, about, error, context=turn.trace)


def _step(turn: _Turn, taken: StepTaken) -> Span:
    """The join, or the getting ready, of an attempt that goes on."""
    attempt = turn.session.services[taken.entry].current
    trace = attempt_trace(turn.session, attempt)
    if taken.step is AttemptStep.JOINED:
        return _span(turn, "join", trace, taken.since, taken.at)
    return _span(turn, "ready", trace, taken.since, taken.at, {"evidence": attempt.ready_by})


def _attempt(turn: _Turn, ended: AttemptEnded) -> Iterator[Span]:
    """An attempt that is over, and the step that was awaited of it."""
    attempt, known = ended.attempt, ended.attempt.timeline
    error = REPLACED if ended.end is None and ended.reason is None else ended.reason
    trace = attempt_trace(turn.session, attempt)
    until = max(turn.at, *(at for at in astuple(known) if at is not None))
    if attempt.in_flight:
        yield _invite(turn, trace, attempt, until, error)
    elif known.accepted is not None and known.joined is None:
        yield _span(turn, "join", trace, known.accepted, until, error=error)
    elif known.joined is not None and known.ready is None and not attempt.lost:
        yield _span(turn, "ready", trace, known.joined, until, error=error)
    about: dict[str, Attribute | None] = {
        "service_id": attempt.instance.service_id,
        "type": attempt.instance.type,
        "attempt": attempt.number,
        "tries": attempt.tries,
        "optional": turn.session.services[ended.entry].optional,
        "state": attempt.state,
        "evidence": attempt.ready_by,
        "reason": error,
    }
    name = f"attempt {attempt.instance.type}"
    yield _span(turn, name, turn.trace, attempt.invited_at, until, about, error, context=trace)


def _invite(turn: _Turn, trace: TraceContext | None, attempt: Attempt, until: float, error: str | None) -> Span:
    """The try that is under way."""
    sent_at = max(attempt.invited_at, attempt.resent_at)
    return _span(turn, "invite", trace, sent_at, until, {"tries": attempt.tries}, error, Kind.CLIENT)


def _span(
    turn: _Turn,
    name: str,
    parent: TraceContext | None,
    start: float,
    end: float,
    about: Mapping[str, Attribute | None] | None = None,
    error: str | None = None,
    kind: Kind = Kind.INTERNAL,
    context: TraceContext | None = None,
) -> Span:
    attributes: dict[str, Attribute] = {"session_id": turn.session.session_id}
    attributes |= {name: value for name, value in (about or {}).items() if value is not None}
    return Span(name, parent, start, max(start, end), attributes, error, kind, context)
