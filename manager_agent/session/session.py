"""A session: one room plus the services it needs, what it is, and what happens to it.

PURE: no clock, no asyncio, no LiveKit. Nothing else decides what state a session is in, and nothing stores
it: the state follows from the facts below, so that no flag can disagree with them.

             all required services ready          the user joins
    waiting ------------------------------> ready <--------------> active
                                             ^ |    the user leaves   |
           all required services ready again | | one of them is lost  |
                                             | v                      |
                                          degraded <------------------+

    With the user in the room already, all services being ready means active at once.

    any of these ---- a reason ----> ended | failed      final: no event changes it any more

Here are the facts and what follows from them. transitions.py says what each event does to the facts, and
plan.py what is to be done next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import ReadyOn as ReadyOn
from manager_agent.session.events import Signal
from manager_agent.session.participant import Presence
from manager_agent.session.required_service import InstanceRef as InstanceRef
from manager_agent.session.required_service import RequiredService as RequiredService
from manager_agent.session.required_service import ServiceReason as ServiceReason
from manager_agent.session.required_service import ServiceState as ServiceState
from manager_agent.session.required_service import Timeline as Timeline
from manager_agent.traceparent import TraceContext, read_trace

OUR_IDENTITIES = "sm-"
"""What the identities that we give begin with; no user's may."""
FRUITLESS_DISPATCHES_MAX = 3
"""After so many dispatches in a row whose manager did not come or stay, a waiting session fails."""


class SessionState(StrEnum):
    WAITING = "waiting"
    """is when not all required services are ready, and never were."""
    READY = "ready"
    """is when all are and the user is not in the room: a token is available."""
    ACTIVE = "active"
    """is when all are and the user is in the room."""
    DEGRADED = "degraded"
    """is when a required service was lost after all had been ready: no new tokens."""
    ENDED = "ended"
    """is final: it ran its course, or was ended."""
    FAILED = "failed"
    """is final: it could not give what was asked for."""


class EndReason(StrEnum):
    CLOSED = "closed"
    USER_LEFT = "user_left"
    USER_NEVER_JOINED = "user_never_joined"
    EXPIRED = "expired"
    ROOM_CLOSED = "room_closed"
    CLIENT_GONE = "client_gone"
    READY_TIMEOUT = "ready_timeout"
    SERVICE_LOST = "service_lost"
    ROOM_UNAVAILABLE = "room_unavailable"


FAILURES = frozenset({EndReason.READY_TIMEOUT, EndReason.SERVICE_LOST, EndReason.ROOM_UNAVAILABLE})
GIVES_TOKENS = frozenset({SessionState.READY, SessionState.ACTIVE})


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    ready_timeout: float = 30.0
    service_join_timeout: float = 10.0
    user_join_timeout: float = 120.0
    user_rejoin_timeout: float = 20.0
    replacement_timeout: float = 20.0
    max_duration: float = 86_400.0
    retention: float = 3_600.0


@dataclass(frozen=True, slots=True)
class User:
    """The user that the session is for, and what goes into the token."""

    identity: str
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, Any] = field(default_factory=dict)
    metadata: str | None = None
    """The metadata of the participant; None: the session's own, as JSON."""


@dataclass(frozen=True, slots=True)
class Room:
    """The LiveKit room, as far as it is made."""

    requested_at: float | None = None
    sid: str = ""
    created_at: float | None = None
    refused: bool = False
    taken: bool = False
    """The name turned out to be that of a room which is not ours: hands off."""

    @property
    def in_flight(self) -> bool:
        """LiveKit was asked to make it and has not answered yet."""
        return self.requested_at is not None and self.created_at is None and not self.refused


@dataclass(frozen=True, slots=True)
class StaleParticipant:
    """Who was invited, or in charge, for an attempt that is over. Found in the room, it is removed: its token is still
    good."""

    identity: str
    presence: Presence = Presence()
    not_before: float = -math.inf
    """Until then it is not removed: it may still be waiting for the answer to what it said last."""
    removing: str | None = None
    """The sid of the participant that LiveKit was asked to remove, while it has not answered."""
    service_id: str | None = None
    attempt: int | None = None
    """The service, and the attempt to get it, that this was; None: a manager, or an agent that is one too many."""

    @property
    def log_fields(self) -> dict[str, str | int]:
        """What every log line about it says."""
        fields = {"identity": self.identity, "service_id": self.service_id, "attempt": self.attempt}
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class End:
    """Why and when it was over, and how far the cleaning up has come."""

    reason: EndReason
    at: float
    cleaning_since: float | None = None
    clean_ups: int = 0
    """How often it was begun: LiveKit may not be there to delete the room."""
    retry_at: float = -math.inf
    cleaned_at: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    session_id: str
    room_name: str
    user: User
    created_at: float
    services: tuple[RequiredService, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    owner: str = ""
    """The name of the caller that asked for it; empty for our own."""
    profile: str = ""
    """The profile that was asked for, if any."""
    callback_url: str | None = None
    """Where its owner wants to be told of each state that it takes."""
    traceparent: str = ""
    tracestate: str = ""
    """The place in a trace of the request that asked for it (traceparent.py); empty: it has none."""

    room: Room = Room()
    manager: ManagerDispatch = ManagerDispatch()
    stale_participants: tuple[StaleParticipant, ...] = ()
    user_presence: Presence = Presence()
    user_came_at: float | None = None
    """When the user was first seen in the room."""
    user_left_at: float | None = None
    """When we were last told that the user, who had been there, has left."""
    webhooks_arrive: bool = False
    listing_since: float | None = None
    """When LiveKit was asked who is in the room, while it has not answered."""
    listing_failures: int = 0
    """In a row."""
    listed_at: float | None = None
    """When LiveKit last answered, or failed to answer, who is in the room."""
    listed_as_of: float = -math.inf
    """When the newest listing that was taken in had been asked for: an older one is old news."""
    end: End | None = None

    state_since: float = 0.0
    """When the state, as derived below, last changed."""
    ready_at: float | None = None
    revision: int = 1
    """Counts the changes that anybody outside can see."""

    @property
    def state(self) -> SessionState:
        if self.end is not None:
            return SessionState.FAILED if self.end.reason in FAILURES else SessionState.ENDED
        if not self.all_ready:
            return SessionState.WAITING if self.ready_at is None else SessionState.DEGRADED
        return SessionState.ACTIVE if self.user_presence.here else SessionState.READY

    @property
    def all_ready(self) -> bool:
        return self.room.created_at is not None and all(
            service.state is ServiceState.READY for service in self.services if not service.optional
        )

    @property
    def over(self) -> bool:
        return self.end is not None

    @property
    def ready_deadline(self) -> float:
        return self.created_at + self.limits.ready_timeout

    @property
    def trace(self) -> TraceContext | None:
        """The trace that everything done for it belongs to."""
        return read_trace(self.traceparent, self.tracestate)

    @property
    def log_fields(self) -> dict[str, str]:
        """What every log line about it says."""
        trace = self.trace
        fields = {"session_id": self.session_id, "room": self.room_name}
        return fields if trace is None else {**fields, "trace_id": trace.trace_id}

    def reason_of(self, service: RequiredService) -> ServiceReason | None:
        """Why this service is not ready: what is known to be wrong while it may still come, the whole
        truth when the session is over."""
        return service.current.shortfall if self.over else service.current.fault

    def entry_of(self, identity: str) -> int | None:
        """The index of the service that was invited, or has come, under this identity."""
        return index_of(self.services, lambda service: service.identity == identity)

    def stale_participant(self, identity: str) -> StaleParticipant | None:
        return next(
            (
                stale_participant
                for stale_participant in self.stale_participants
                if stale_participant.identity == identity
            ),
            None,
        )

    def is_stale(self, identity: str) -> bool:
        return self.stale_participant(identity) is not None

    def invited_as(self, invite_id: str | None) -> str | None:
        """The identity that the holder of this invite id was invited under."""
        entry = index_of(self.services, lambda service: bool(invite_id) and service.invite_id == invite_id)
        return None if entry is None else self.services[entry].identity

    def has_taken_in(self, identity: str, signal: Signal) -> bool:
        """Whether what this service said of itself is in force, and so may be acknowledged."""
        entry = self.entry_of(identity)
        if entry is None:
            return False
        service = self.services[entry]
        match signal:
            case Signal.READY:
                return service.state is ServiceState.READY
            case Signal.FAILED:
                return service.current.reported_failure
        return True

    def __repr__(self) -> str:
        needed = [service for service in self.services if not service.optional]
        ready = sum(service.state is ServiceState.READY for service in needed)
        why = f" {self.end.reason}" if self.end else ""
        return f"<Session {self.room_name} [{self.state}{why} {ready}/{len(needed)} ready] rev {self.revision}>"


def deadline(session: Session) -> tuple[float, EndReason] | None:
    """The next instant at which the session is over unless something happens before, and why then."""
    if session.end is not None:
        return None
    limits, since = session.limits, session.state_since
    ends = [(session.created_at + limits.max_duration, EndReason.EXPIRED)]
    match session.state:
        case SessionState.WAITING:
            ends.append((session.ready_deadline, EndReason.READY_TIMEOUT))
            if session.manager.fruitless >= FRUITLESS_DISPATCHES_MAX:
                ends.append((session.manager.next_dispatch_at, EndReason.ROOM_UNAVAILABLE))
        case SessionState.READY if session.user_left_at is not None:
            ends.append((max(since, session.user_left_at) + limits.user_rejoin_timeout, EndReason.USER_LEFT))
        case SessionState.READY:
            latest = max((session.ready_at or since) + limits.user_join_timeout, since + limits.user_rejoin_timeout)
            ends.append((latest, EndReason.USER_NEVER_JOINED))
        case SessionState.DEGRADED:
            ends.append((since + limits.replacement_timeout, EndReason.SERVICE_LOST))
    return min(ends)


def invite_deadline(session: Session, now: float) -> float:
    """Until when a service that is invited at `now` is waited for: one that comes later replaces one that was lost."""
    return session.ready_deadline if session.ready_at is None else now + session.limits.replacement_timeout


def is_revenant(session: Session, sid: str, *, is_blank: bool) -> bool:
    """Whether a room of the session's name, with this sid, is its deleted room made again: LiveKit makes one, without
    metadata, for a participant who was joining at that moment. It has no manager and no services."""
    return session.over and is_blank and sid != session.room.sid


def index_of(services: tuple[RequiredService, ...], wanted: Callable[[RequiredService], bool]) -> int | None:
    return next((i for i, service in enumerate(services) if wanted(service)), None)
