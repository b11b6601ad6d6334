"""What happened to a session in one change: `changes(before, after, event)`. PURE.

The one account of a change. The session log, metrics, traces, callbacks and the feed render these values; none of them
compares a session before with the same session after.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import Attempt, RequiredService, ServiceReason
from manager_agent.session.session import FAILURES, EndReason, Session, SessionState


class AttemptStep(StrEnum):
    """How far an attempt has come; the names of the instants of its timeline, in the order in which they are told."""

    ACCEPTED = "accepted"
    JOINED = "joined"
    READY = "ready"
    LEFT = "left"
    FAILED = "failed"


class InviteOutcome(StrEnum):
    """The outcome of one try of an invite."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"


class Missable(StrEnum):
    """Webhooks whose absence shows, by LiveKit's own names."""

    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    ROOM_FINISHED = "room_finished"


# --- the session ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The session is new."""


@dataclass(frozen=True, slots=True)
class SessionForgotten:
    """The session is no longer kept."""


@dataclass(frozen=True, slots=True)
class Revised:
    """Something changed that clients can see: the session has a new revision."""


@dataclass(frozen=True, slots=True)
class RoomAnswered:
    """LiveKit created the room, or did not: `session.room` says which."""


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """It has its room, or is over without one. A session whose room name belongs to another room is never created."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    before: SessionState
    after: SessionState
    lasted: float
    """Seconds in the state before."""


@dataclass(frozen=True, slots=True)
class SessionReady:
    """For the first time."""

    seconds: float
    """Since it was requested."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    reason: EndReason


@dataclass(frozen=True, slots=True)
class CleanUpEnded:
    since: float
    """When this clean-up began."""
    tries: int
    """How many were begun so far."""
    failed: bool


# --- the user and the manager -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserJoined:
    """Also as a new participant in the place of the one before."""


@dataclass(frozen=True, slots=True)
class UserLeft:
    """The user was in the room."""


@dataclass(frozen=True, slots=True)
class ManagerDispatchedAgain:
    """The manager before did not join, or is gone."""


@dataclass(frozen=True, slots=True)
class ManagerDispatchEnded:
    """A dispatched manager joined, or is no longer waited for."""

    attempt: int
    identity: str | None
    since: float
    """When it was dispatched."""
    failed: bool
    """It did not join, though there was time."""


# --- services: `entry` is the index in `session.services` -------------------------------------------


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An instance is invited, or the same instance again in a new attempt."""

    entry: int


@dataclass(frozen=True, slots=True)
class InviteAnswered:
    """A try of the current attempt's invite was answered, or could not be delivered."""

    entry: int
    outcome: InviteOutcome


@dataclass(frozen=True, slots=True)
class StepTaken:
    """By the current attempt of an entry."""

    entry: int
    step: AttemptStep
    at: float
    since: float
    """When this step began to be awaited; `at` for a step that is not awaited."""
    is_first: bool
    """The first time in this attempt: it may accept, join and be ready again."""


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The next attempt took its place, or the session ended."""

    entry: int
    attempt: Attempt
    end: EndReason | None
    """Why the session ended; None: the next attempt has started."""

    @property
    def reason(self) -> ServiceReason | None:
        """Why it was not ready; None if it was, or still had time when the session was ended."""
        return self.attempt.shortfall if self.end is None or self.end in FAILURES else self.attempt.fault

    @property
    def failure(self) -> ServiceReason | None:
        """The reason, as far as the service answers for it; None: the attempt did not fail."""
        if self.end is EndReason.ROOM_CLOSED:
            return None  # a service that has left was disconnected with the room
        return self.attempt.fault if self.end is EndReason.ROOM_UNAVAILABLE else self.reason


@dataclass(frozen=True, slots=True)
class WebhookAwaited:
    """We found out ourselves what a webhook is to tell, in a session whose webhooks arrive: it may be on its way."""

    event: Missable
    sid: str
    """Of the participant, or of the room, that it is about."""


SessionChange = (
    SessionOpened | SessionForgotten | Revised | RoomAnswered | SessionCreated | StateChanged | SessionReady
    | SessionEnded | CleanUpEnded | UserJoined | UserLeft | ManagerDispatchedAgain | ManagerDispatchEnded
    | AttemptStarted | InviteAnswered | StepTaken | AttemptEnded | WebhookAwaited
)  # fmt: skip


def changes(before: Session | None, after: Session | None, event: Event | None) -> Iterator[SessionChange]:
    """Everything that happened in this change, in the order to tell it in. `before` is None when the session is new,
    `after` when it is forgotten; `event` made the change."""
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
    if before.room.in_flight and not after.room.in_flight:
        yield RoomAnswered()
    if (ends or after.room is not before.room) and _is_created(after) and not _is_created(before):
        yield SessionCreated()
    was, now = before.manager, after.manager
    if now.attempt > max(was.attempt, 1):
        yield ManagerDispatchedAgain()
    if was.awaited_since is not None and (now.awaited_since != was.awaited_since or ends):
        came = now.presence.here
        failed = not came and (not ends or after.state is SessionState.FAILED)
        yield ManagerDispatchEnded(was.attempt, now.identity if came else was.identity, was.awaited_since, failed)


def _is_created(session: Session) -> bool:
    return session.room.created_at is not None or (session.over and not session.room.taken)


def _of_state(before: Session, after: Session) -> Iterator[SessionChange]:
    if before.revision != after.revision and before.state is not after.state:  # a new state is a new revision
        yield StateChanged(before.state, after.state, after.state_since - before.state_since)
    if before.ready_at is None and after.ready_at is not None:
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
    """When a step began to be awaited, if it was, and whether it is the first of its kind in the attempt."""
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
                    yield from _found(was, now)
        case ev.RoomClosed(told=False) if before.webhooks_arrive:
            yield WebhookAwaited(Missable.ROOM_FINISHED, before.room.sid)


def _presences(session: Session) -> tuple[Presence, ...]:
    """Of all but the manager, which is in the room itself and needs no webhook."""
    return (session.user_presence, *(service.presence for service in session.services))


def _found(was: Presence, now: Presence) -> Iterator[WebhookAwaited]:
    if now.sid not in (None, was.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_JOINED, now.sid)
    if was.sid not in (None, now.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_LEFT, was.sid)
