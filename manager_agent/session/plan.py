"""What is to be done next for a session: `plan(session, now) -> Plan`.

PURE. The plan follows from the session alone, so a process that takes a session over goes on where it stood. What is
under way is a fact of the session (requested, in flight, listing since), recorded by the drive before the
I/O; otherwise it would be asked for again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from manager_agent.backoff import backoff
from manager_agent.session.required_service import Attempt
from manager_agent.session.retries import replace_at, resend_at
from manager_agent.session.session import Session, deadline

BLIND_LISTING_INTERVAL = 0.2
"""Seconds between two looks into a room whose webhooks do not reach us, while services are awaited."""
WAITING_LISTING_INTERVAL, LISTING_INTERVAL = 5.0, 30.0
"""Seconds between two looks into any other room, while services are awaited and when all are ready: a missed
webhook is made up for then."""
NAME_QUARANTINE = 30.0
"""Seconds for which the name of a deleted room is not used again (livekit/livekit#4726)."""


@dataclass(frozen=True, slots=True)
class CreateRoom:
    """Create the room, dispatching the manager in the same call."""


@dataclass(frozen=True, slots=True)
class DispatchManager:
    attempt: int


@dataclass(frozen=True, slots=True)
class SendInvite:
    entry: int
    attempt: int
    tries: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Find an instance to invite for this entry now that this attempt failed: another one, or the same."""

    entry: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a participant of an older attempt from the room."""

    identity: str


@dataclass(frozen=True, slots=True)
class ListRoom:
    """Ask LiveKit who is in the room."""


@dataclass(frozen=True, slots=True)
class CheckDeadline:
    """A deadline is due."""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Delete the room and tell the services that it is over."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Forget the session: its retention is over."""


Action = CreateRoom | DispatchManager | SendInvite | Replace | Remove | ListRoom | CheckDeadline | CleanUp | Purge


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...]
    """What to do now, in this order."""
    wake_at: float
    """The instant at which to ask again if nothing changes before; infinity if only a change can matter."""


def plan(session: Session, now: float) -> Plan:
    """What is due at `now`, and when to look again."""
    due = list(_after_the_end(session) if session.over else _while_alive(session))
    actions = tuple(action for at, action in due if at <= now)
    if CheckDeadline() in actions:
        actions = (CheckDeadline(),)  # nothing else is worth beginning
    return Plan(actions, min((at for at, _ in due if at > now), default=math.inf))


def _while_alive(session: Session) -> Iterator[tuple[float, Action]]:
    """Every action with the instant at which it is due."""
    ends = deadline(session)
    if ends is not None:
        yield ends[0], CheckDeadline()
    if session.room.requested_at is None:
        yield -math.inf, CreateRoom()
    if session.room.created_at is None:
        return
    yield session.manager.next_dispatch_at, DispatchManager(session.manager.attempt + 1)
    for entry, service in enumerate(session.services):
        yield from _invite(session, entry, service.current)
    for stale_participant in session.stale_participants:
        if stale_participant.presence.here and stale_participant.removing is None:
            yield stale_participant.not_before, Remove(stale_participant.identity)
    if session.listing_since is None:
        yield _next_listing_at(session, session.room.created_at), ListRoom()


def _next_listing_at(session: Session, created_at: float) -> float:
    latest = session.listed_at or created_at
    if session.listing_failures:
        return latest + backoff(session.session_id, session.listing_failures)
    watched_since = session.manager.presence.told_at
    if watched_since is not None and watched_since > latest:
        return watched_since  # who left while no manager watched?
    if session.all_ready:
        return latest + LISTING_INTERVAL
    return latest + (WAITING_LISTING_INTERVAL if session.webhooks_arrive else BLIND_LISTING_INTERVAL)


def _invite(session: Session, entry: int, attempt: Attempt) -> Iterator[tuple[float, Action]]:
    if attempt.number == 0:
        yield -math.inf, SendInvite(entry, attempt=1, tries=1)
        return
    yield replace_at(attempt, session.limits.service_join_timeout), Replace(entry, attempt.number)
    again = SendInvite(entry, attempt.number, attempt.tries + 1)
    yield resend_at(attempt), again  # after Replace: another instance, if there is one, comes first


def _after_the_end(session: Session) -> Iterator[tuple[float, Action]]:
    end = session.end
    assert end is not None
    if session.room.in_flight:
        return  # what is being made can't be deleted yet
    if end.cleaning_since is None and end.cleaned_at is None:
        yield end.retry_at, CleanUp()
    elif end.cleaned_at is not None:
        yield max(end.at + session.limits.retention, end.cleaned_at + NAME_QUARANTINE), Purge()
