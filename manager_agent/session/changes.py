"""What changed in a session: `changes(before, after, event)`. PURE.

The only comparison of a session before and after. The session log, metrics, traces, callbacks and the feed render its
result (change_values.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.change_values import (
    AttemptEnded,
    AttemptStarted,
    AttemptStep,
    CleanUpEnded,
    InviteAbandoned,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    ManagerDispatchEnded,
    Missable,
    Revised,
    RoomAnswered,
    RoomLost,
    SessionChange,
    SessionCreated,
    SessionEnded,
    SessionForgotten,
    SessionOpened,
    SessionReady,
    StateChanged,
    StepTaken,
    UserJoined,
    UserLeft,
    WebhookAwaited,
)
from manager_agent.session.events import Event
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, SessionState


def changes(before: Session | None, after: Session | None, event: Event | None) -> Iterator[SessionChange]:
    """Everything that `event` changed, in the order to report it. `before` is None when the session is new, `after`
    when it is forgotten."""
    if after is None:
        yield SessionForgotten()
    elif before is None:
        yield SessionOpened()
    else:
        yield from _of_room_and_manager(before, after)
        for entry, (was, now) in enumerate(zip(before.services, after.services, strict=True)):
            if now is not was:
                yield from _of_service(entry, was, now)
        yield from _of_user(before, after)
        yield from _of_state(before, after)
        yield from _awaited_webhooks(before, after, event)
        if before.revision != after.revision:
            yield Revised()


# --- the session, its room and its manager ----------------------------------------------------------


def _of_room_and_manager(before: Session, after: Session) -> Iterator[SessionChange]:
    ends = before.end is None and after.end is not None
    if before.room.asked_since is not None and after.room.asked_since is None:
        yield RoomAnswered(before.room.asked_since, again=before.room.created_at is not None)
    if before.end is None and after.room.remakes > before.room.remakes:
        yield RoomLost(before.room.sid, after.room.remakes)
    if (ends or after.room is not before.room) and _is_created(after) and not _is_created(before):
        yield SessionCreated()
    was, now = before.manager, after.manager
    if now.attempt > max(was.attempt, 1):
        yield ManagerDispatchedAgain()
    if was.awaited_since is not None and (now.awaited_since != was.awaited_since or ends):
        failed = not now.presence.here and (not ends or after.state is SessionState.FAILED)
        yield ManagerDispatchEnded(was.attempt, was.identity, was.awaited_since, failed)


def _is_created(session: Session) -> bool:
    return session.room.created_at is not None or (session.over and not session.room.is_refused_name)


def _of_state(before: Session, after: Session) -> Iterator[SessionChange]:
    if before.revision != after.revision and before.state is not after.state:  # a new state is a new revision
        yield StateChanged(before.state, after.state, after.state_since - before.state_since)
    is_first = before.ready_at is None and after.waiting_again_since is None
    if is_first and after.ready_at is not None:
        yield SessionReady(max(0.0, after.ready_at - after.created_at))
    if after.end is None:
        return
    if before.end is None:
        for entry, service in enumerate(after.services):
            if service.attempt:
                yield AttemptEnded(entry, service.current, after.end.reason)
        yield SessionEnded(after.end.reason)
    elif before.end.cleaning_since is not None and before.end.cleaned_at is None:
        failed = after.end.cleaning_since is None
        if failed or after.end.cleaned_at is not None:
            yield CleanUpEnded(before.end.cleaning_since, after.end.clean_ups, failed)


def _of_user(before: Session, after: Session) -> Iterator[SessionChange]:
    if before.user_presence.sid != after.user_presence.sid:
        yield UserJoined() if after.user_presence.here else UserLeft()


# --- services ---------------------------------------------------------------------------------------


def _of_service(entry: int, service_before: RequiredService, service: RequiredService) -> Iterator[SessionChange]:
    was, now = service_before.current, service.current
    if now.number != was.number:
        if was.number:
            yield AttemptEnded(entry, was, end=None)
        yield AttemptStarted(entry)
        return
    if now.lost_with_room and not was.lost_with_room:
        if was.in_flight:
            yield InviteAbandoned(entry)
        return
    if was.in_flight and not now.in_flight:
        yield InviteAnswered(entry, InviteOutcome(now.refusal or InviteOutcome.ACCEPTED))
    if now.timeline is was.timeline:
        return
    for step in AttemptStep:
        at: float | None = getattr(now.timeline, step)
        if at is not None and at != getattr(was.timeline, step):
            since, is_first = _awaited_since(step, was, now)
            yield StepTaken(entry, step, at, at if since is None else since, is_first)


def _awaited_since(step: AttemptStep, was: Attempt, now: Attempt) -> tuple[float | None, bool]:
    """When a step started to be awaited (None: it was not), and whether it is the first of its kind in the attempt."""
    joined, ready = now.timeline.joined, now.timeline.ready
    match step:
        case AttemptStep.ACCEPTED:
            return was.timeline.invited, not was.was_accepted
        case AttemptStep.JOINED if was.timeline.joined is None:
            return was.answered_at, True
        case AttemptStep.JOINED:
            return was.timeline.left, False
        case AttemptStep.READY if ready is not None:
            return min(now.answered_at if joined is None else joined, ready), not now.was_ready
    return None, True


# --- webhooks ---------------------------------------------------------------------------------------


def _awaited_webhooks(before: Session, after: Session, event: Event | None) -> Iterator[WebhookAwaited]:
    match event:
        case ev.RoomListed() if before.webhooks_arrive:
            for was, now in zip(_presences(before), _presences(after), strict=True):
                if now is not was:
                    yield from _webhooks_of(was, now)
        case ev.RoomMissed() if before.webhooks_arrive and after.over:
            yield WebhookAwaited(Missable.ROOM_FINISHED, before.room.sid)


def _presences(session: Session) -> tuple[Presence, ...]:
    """All presences but the manager's: it is in the room itself and needs no webhook."""
    return (session.user_presence, *(service.presence for service in session.services))


def _webhooks_of(was: Presence, now: Presence) -> Iterator[WebhookAwaited]:
    if now.sid not in (None, was.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_JOINED, now.sid)
    if was.sid not in (None, now.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_LEFT, was.sid)
