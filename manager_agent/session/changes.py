"""What there is to count and to time in a change of a session: `observations(before, after, event)`. PURE.

Every change is seen once (store.listen), so nothing is counted twice that happens once. How it is called when it is
shown, and to whom, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import EndReason, ServiceReason, Session

REFUSING = frozenset({ServiceReason.NOT_REGISTERED, ServiceReason.NO_CAPACITY})
"""Why nobody is invited at all, and the request for a session is refused."""
ATTEMPT_REASONS = tuple(reason for reason in ServiceReason if reason not in REFUSING)
"""Why an attempt comes to nothing."""


class AttemptStep(StrEnum):
    """How far an attempt has come."""

    ACCEPT = "accept"
    JOIN = "join"
    READY = "ready"


class InviteOutcome(StrEnum):
    """What a try of an invite came to."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"


class Missable(StrEnum):
    """Webhooks whose absence shows, by LiveKit's own names."""

    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    ROOM_FINISHED = "room_finished"


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """It has its room, or is over without one."""

    profile: str
    types: tuple[str, ...]
    """Of its services."""


@dataclass(frozen=True, slots=True)
class SessionReady:
    """For the first time, so many seconds after it was asked for."""

    profile: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SessionEnded:
    reason: EndReason


@dataclass(frozen=True, slots=True)
class AttemptBegan:
    """An instance is invited, or the same one anew."""

    type: str


@dataclass(frozen=True, slots=True)
class StepTaken:
    """By an attempt for the first time, so many seconds after it began."""

    type: str
    step: AttemptStep
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceReady:
    """Also when it came back."""

    type: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ServiceReplaced:
    """By another instance, or invited anew."""

    type: str


@dataclass(frozen=True, slots=True)
class ServiceFailed:
    """An attempt came to nothing: the next one began, or the session was over."""

    type: str
    reason: ServiceReason


@dataclass(frozen=True, slots=True)
class InviteAnswered:
    type: str
    outcome: InviteOutcome


@dataclass(frozen=True, slots=True)
class ManagerDispatchedAgain:
    """The one before did not come, or is gone."""


@dataclass(frozen=True, slots=True)
class WebhookAwaited:
    """We found out ourselves what a webhook is to tell, in a session whose webhooks arrive: it may be on its way."""

    event: Missable
    sid: str
    """Of the participant, or of the room, that it is about."""


Observation = (
    SessionCreated | SessionReady | SessionEnded | AttemptBegan | StepTaken | ServiceReady | ServiceReplaced
    | ServiceFailed | InviteAnswered | ManagerDispatchedAgain | WebhookAwaited
)  # fmt: skip


def observations(before: Session | None, after: Session | None, event: Event | None) -> Iterator[Observation]:
    """All of this change. `before` is None when the session is new, `after` when it is forgotten. Nothing of one that
    proves that we are well: it has no owner, and is nobody's session."""
    if after is None or not after.owner:
        return
    if before is None:
        return
    if _counts(after) and not _counts(before):
        yield SessionCreated(after.profile, tuple(service.type for service in after.services))
    if after.services is not before.services:
        for was, now in zip(before.services, after.services, strict=True):
            if now is not was:
                yield from _of_service(was, now)
    yield from _of_event(before, after, event)
    if before.ready_at is None and after.ready_at is not None:
        yield SessionReady(after.profile, _since(after.created_at, after.ready_at))
    if before.end is None and after.end is not None:
        yield from _failed_by_then(after, after.end.reason)
        if _counts(after):
            yield SessionEnded(after.end.reason)


def _counts(session: Session) -> bool:
    """Not before it is known whether there is a session: one whose room is another's is refused."""
    return session.room.created_at is not None or (session.over and not session.room.taken)


def _of_service(was: RequiredService, now: RequiredService) -> Iterator[Observation]:
    if now.attempt != was.attempt:
        if was.attempt:
            yield ServiceReplaced(was.type)
            if was.current.shortfall is not None:
                yield ServiceFailed(was.type, was.current.shortfall)
        yield AttemptBegan(now.type)
        return
    earlier, later = was.timeline, now.timeline
    began = later.invited
    if later is earlier or began is None:
        return
    if earlier.accepted is None and later.accepted is not None and not was.current.was_accepted:
        yield StepTaken(now.type, AttemptStep.ACCEPT, _since(began, later.accepted))
    if earlier.joined is None and later.joined is not None:
        yield StepTaken(now.type, AttemptStep.JOIN, _since(began, later.joined))
    if now.ready_by is not None and later.ready != earlier.ready:
        yield ServiceReady(now.type, now.ready_by)
        if not now.current.was_ready and later.ready is not None:
            yield StepTaken(now.type, AttemptStep.READY, _since(began, later.ready))


def _of_event(before: Session, after: Session, event: Event | None) -> Iterator[Observation]:
    match event:
        case ev.InviteAccepted(entry=entry):
            yield InviteAnswered(after.services[entry].type, InviteOutcome.ACCEPTED)
        case ev.InviteRefused(entry=entry, why=why):
            yield InviteAnswered(after.services[entry].type, InviteOutcome(why))
        case ev.ManagerDispatched(attempt=attempt) if attempt > 1:
            yield ManagerDispatchedAgain()
        case ev.RoomListed() if before.webhooks_arrive:
            for was, now in zip(_presences(before), _presences(after), strict=True):
                if now is not was:
                    yield from _found(was, now)
        case ev.RoomClosed(told=False) if before.webhooks_arrive:
            yield WebhookAwaited(Missable.ROOM_FINISHED, before.room.sid)


def _presences(session: Session) -> tuple[Presence, ...]:
    """Of all but the manager, who is in the room himself and needs no webhook."""
    return (session.user_presence, *(service.presence for service in session.services))


def _found(was: Presence, now: Presence) -> Iterator[WebhookAwaited]:
    if now.sid not in (None, was.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_JOINED, now.sid)
    if was.sid not in (None, now.sid):
        yield WebhookAwaited(Missable.PARTICIPANT_LEFT, was.sid)


def _failed_by_then(session: Session, end: EndReason) -> Iterator[ServiceFailed]:
    for service in session.services:
        if service.attempt and (reason := _at_the_end(service, end)) is not None:
            yield ServiceFailed(service.type, reason)


def _at_the_end(service: RequiredService, end: EndReason) -> ServiceReason | None:
    """Why its last attempt came to nothing; None if it did not, or was given no time to."""
    match end:
        case EndReason.READY_TIMEOUT | EndReason.SERVICE_LOST:
            return service.current.shortfall
        case EndReason.ROOM_CLOSED:
            return None  # whoever has left was sent away
    return service.current.fault


def _since(began: float, at: float) -> float:
    return max(0.0, at - began)
