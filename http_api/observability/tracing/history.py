"""The spans that a change of a session ends. PURE.

    session                   from when it was asked for until its end
     |- create room
     |- dispatch manager      until a manager is in the room; one for each dispatch
     |- attempt ASR           from the invite until the next attempt, or the end of the session
     |   |- invite            one for each try
     |   |- join              from the answer to the invite
     |   `- ready             from the join
     |- token                 requests.py
     `- clean up              after the end

Every step that has begun ends once: when it is done, when its attempt has come to nothing, or with the session. Events
may overtake one another on their way; a span that would end before it begins takes no time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

from http_api.observability.tracing.spans import Attribute, Kind, Span, attempt_trace, session_trace
from manager_agent.session.session import EndReason, RequiredService, Session, SessionState
from manager_agent.store.store import Change
from manager_agent.traceparent import TraceContext

NO_MANAGER, NAME_TAKEN, NOT_DELETED = "manager_did_not_come", "room_name_taken", "room_not_deleted"
REPLACED = "replaced"
"""Errors that no reason of the session's says."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A session before and after something happened to it, at this instant."""

    before: Session
    after: Session
    at: float
    trace: TraceContext

    @property
    def is_the_end(self) -> bool:
        return self.before.end is None and self.after.end is not None

    @property
    def has_failed(self) -> bool:
        return self.after.state is SessionState.FAILED


def spans_of(change: Change) -> Iterator[Span]:
    """What is over by this change, in no order; nothing of a session that is not traced."""
    before, after, event = change.before, change.after, change.event
    if before is None or after is None or event is None:
        return
    trace = session_trace(after)
    if trace is None or not trace.sampled:
        return
    turn = _Turn(before, after, event.at, trace)
    yield from _room(turn)
    yield from _dispatch(turn)
    for was, now in zip(before.services, after.services, strict=True):
        yield from _service(turn, was, now)
    yield from _session(turn)
    yield from _clean_up(turn)


def _room(turn: _Turn) -> Iterator[Span]:
    was, now = turn.before.room, turn.after.room
    if was.requested_at is None or not was.in_flight or now.in_flight:
        return
    error = (NAME_TAKEN if now.taken else EndReason.ROOM_UNAVAILABLE) if now.refused else None
    about = {"sid": now.sid or None}
    yield _span(turn, "create room", turn.trace, was.requested_at, turn.at, about, error, Kind.CLIENT)


def _dispatch(turn: _Turn) -> Iterator[Span]:
    was, now = turn.before.manager, turn.after.manager
    if was.awaited_since is None or (now.awaited_since == was.awaited_since and not turn.is_the_end):
        return
    came = now.presence.here
    given_up = not came and (turn.has_failed or not turn.is_the_end)
    about = {"attempt": was.attempt, "identity": now.identity if came else was.identity}
    error = NO_MANAGER if given_up else None
    yield _span(turn, "dispatch manager", turn.trace, was.awaited_since, turn.at, about, error)


def _session(turn: _Turn) -> Iterator[Span]:
    after, end = turn.after, turn.after.end
    if end is None or not turn.is_the_end:
        return
    ready_after = None if after.ready_at is None else after.ready_at - after.created_at
    about = {"room": after.room_name, "state": after.state, "reason": end.reason, "ready_after": ready_after}
    error = end.reason if turn.has_failed else None
    yield _span(turn, "session", after.trace, after.created_at, end.at, about, error, context=turn.trace)


def _clean_up(turn: _Turn) -> Iterator[Span]:
    was, now = turn.before.end, turn.after.end
    if was is None or now is None or was.cleaning_since is None or was.cleaned_at is not None:
        return
    failed = now.cleaning_since is None
    if failed or now.cleaned_at is not None:
        error = NOT_DELETED if failed else None
        yield _span(turn, "clean up", turn.trace, was.cleaning_since, turn.at, {"tries": now.clean_ups}, error)


# --- services ---------------------------------------------------------------------------------------


def _service(turn: _Turn, was: RequiredService, now: RequiredService) -> Iterator[Span]:
    if now.attempt != was.attempt:
        if was.attempt:
            yield from _attempt(turn, was, was.current.shortfall or REPLACED)
        return
    if now is not was:
        yield from _steps(turn, was, now)
    if now.attempt and turn.is_the_end:
        yield from _attempt(turn, now, now.current.shortfall if turn.has_failed else now.current.fault)


def _steps(turn: _Turn, was: RequiredService, now: RequiredService) -> Iterator[Span]:
    """Those that are over of an attempt that goes on."""
    trace, known = attempt_trace(turn.after, now), now.timeline
    if was.current.in_flight and not now.current.in_flight:
        yield _invite(turn, trace, was, turn.at, now.current.refusal)
    if known.joined is not None and known.joined != was.timeline.joined:
        awaited_since = _answered_at(was) if was.timeline.joined is None else was.timeline.left
        yield _span(turn, "join", trace, known.joined if awaited_since is None else awaited_since, known.joined)
    if known.ready is not None and known.ready != was.timeline.ready:
        begun = _answered_at(now) if known.joined is None else known.joined
        yield _span(turn, "ready", trace, min(begun, known.ready), known.ready, {"evidence": now.ready_by})


def _attempt(turn: _Turn, service: RequiredService, error: str | None) -> Iterator[Span]:
    """An attempt that is over, and the step that was awaited of it."""
    trace, known = attempt_trace(turn.after, service), service.timeline
    until = max(turn.at, *(at for at in astuple(known) if at is not None))
    if service.current.in_flight:
        yield _invite(turn, trace, service, until, error)
    elif known.accepted is not None and known.joined is None:
        yield _span(turn, "join", trace, known.accepted, until, error=error)
    elif known.joined is not None and known.ready is None and not service.current.lost:
        yield _span(turn, "ready", trace, known.joined, until, error=error)
    about: dict[str, Attribute | None] = {
        "service_id": service.service_id,
        "type": service.type,
        "attempt": service.attempt,
        "tries": service.current.tries,
        "optional": service.optional,
        "state": service.state,
        "evidence": service.ready_by,
        "reason": error,
    }
    name = f"attempt {service.type}"
    yield _span(turn, name, turn.trace, _invited_at(service), until, about, error, context=trace)


def _invite(turn: _Turn, trace: TraceContext | None, service: RequiredService, until: float, error: str | None) -> Span:
    """The try that is under way."""
    sent_at = max(_invited_at(service), service.current.resent_at)
    return _span(turn, "invite", trace, sent_at, until, {"tries": service.current.tries}, error, Kind.CLIENT)


def _invited_at(service: RequiredService) -> float:
    assert service.timeline.invited is not None, "an attempt begins with its invite"
    return service.timeline.invited


def _answered_at(service: RequiredService) -> float:
    """When it accepted, or else was invited: it may come before its answer does."""
    return _invited_at(service) if service.timeline.accepted is None else service.timeline.accepted


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
    attributes: dict[str, Attribute] = {"session_id": turn.after.session_id}
    attributes |= {name: value for name, value in (about or {}).items() if value is not None}
    return Span(name, parent, start, max(start, end), attributes, error, kind, context)
