"""A session: one room and the services that it needs. This file has its facts, and the state derived from them.

PURE: no clock, no asyncio, no LiveKit. The state is not stored and not decided anywhere else: it is derived from the
facts below, so no flag can disagree with them.

             all required services ready          the user joins
    waiting ------------------------------> ready <--------------> active
                                             ^ |    the user leaves   |
           all required services ready again | | one of them is lost  |
                                             | v                      |
                                          degraded <------------------+

    waiting <---- the room is lost before anyone entered it ---- waiting | ready | degraded

    If the user is already in the room when all services become ready, the session is active at once. A room that is
    lost is made again, and the services are invited again, with a new ready deadline if they had been ready. If someone
    has entered it since they were, the session ends.

    any of these ---- a reason ----> ended | failed      final: no event changes it

transitions.py defines how each event changes the facts, deadlines.py when the session ends if nothing happens, and
plan.py what to do next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from manager_agent.frozen import Frozen, field
from manager_agent.json_object import EMPTY, JsonObject
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.events import Signal
from manager_agent.session.participant import (
    LISTING_LAG,
    MISSES_MAX,
    ROOM_EVENT_LAG,
    Guest,
    Presence,
    StaleParticipant,
    Trespasser,
)
from manager_agent.session.required_service import RequiredService
from manager_agent.session.room import REMAKES_MAX, ROOM_MISSES_MAX, Room, generated_room_name
from manager_agent.traceparent import TraceContext, read_trace

OUR_IDENTITIES = "sm-"
"""The prefix of the identities that the session manager assigns. Users' identities must not have it."""


class SessionState(StrEnum):
    WAITING = "waiting"
    """The required services are not all ready, and never were in this room."""
    READY = "ready"
    """All required services are ready, and the user is not in the room. Tokens are issued."""
    ACTIVE = "active"
    """All required services are ready, and the user is in the room."""
    DEGRADED = "degraded"
    """A required service was lost after all had been ready. No new tokens are issued."""
    ENDED = "ended"
    """Final: the session completed, or was ended by request."""
    FAILED = "failed"
    """Final: the session could not provide what was requested."""


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


PROMPT = 2.0
"""Seconds."""
FAILURES = frozenset({EndReason.READY_TIMEOUT, EndReason.SERVICE_LOST, EndReason.ROOM_UNAVAILABLE})
GIVES_TOKENS = frozenset({SessionState.READY, SessionState.ACTIVE})


class Limits(Frozen):
    """How long things may take, in seconds."""

    ready_timeout: float = 30.0
    service_join_timeout: float = 10.0
    user_join_timeout: float = 120.0
    user_rejoin_timeout: float = 20.0
    replacement_timeout: float = 20.0
    max_duration: float = 86_400.0
    retention: float = 3_600.0


class User(Frozen):
    """The session's user, and the contents of the user's token."""

    identity: str
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, Any] = field(default_factory=dict)
    metadata: str | None = None
    """The participant's metadata; None: the session's metadata as JSON."""


class End(Frozen):
    """Why and when the session ended, and the progress of the clean-up."""

    reason: EndReason
    at: float
    cleaning_since: float | None = None
    clean_ups: int = 0
    """How often the clean-up was started. It fails while LiveKit is unavailable."""
    retry_at: float = -math.inf
    cleaned_at: float | None = None
    deleting_since: float | None = None
    """When LiveKit was asked to delete the room, at the clean-up that succeeded; None: it did not have to."""

    @property
    def has_room_left(self) -> bool:
        """Whether LiveKit did not delete the room when it was asked to, and will be asked again."""
        return self.cleaned_at is None and self.retry_at > -math.inf

    @property
    def was_cleaned_promptly(self) -> bool:
        """Whether LiveKit deleted the room at the first request and at once. A deletion that takes long may still go on
        afterwards, and then take a new room of the same name with it (livekit/livekit#4726)."""
        if self.cleaned_at is None or self.cleaning_since is None:
            return False
        since = self.cleaning_since if self.deleting_since is None else self.deleting_since
        return self.clean_ups == 1 and self.cleaned_at - since <= PROMPT


class Session(Frozen):
    session_id: str
    room_name: str
    user: User
    created_at: float
    services: tuple[RequiredService, ...] = ()
    metadata: JsonObject = EMPTY
    limits: Limits = Limits()
    owner: str = ""
    """The name of the caller that requested it; empty for the health check's sessions."""
    shared_with: str = ""
    """The group of callers that may enter the room by its name, in addition to the owner."""
    profile: str = ""
    """The requested profile, if any."""
    callback_url: str | None = None
    """The URL to which every change of its state is posted."""
    traceparent: str = ""
    tracestate: str = ""
    """The trace context of the request that created it (traceparent.py); empty: none."""

    room: Room = Room()
    manager: ManagerDispatch = ManagerDispatch()
    stale_participants: tuple[StaleParticipant, ...] = ()
    trespassers: tuple[Trespasser, ...] = ()
    user_presence: Presence = Presence()
    has_guests: bool = False
    """Whether it was opened by the token endpoint: everyone who gets a token there is a guest."""
    guests: tuple[Guest, ...] = ()
    """Those besides the user whose stay keeps the session."""
    token_given_at: float = -math.inf
    """When the token endpoint last gave a token."""
    user_joined_at: float | None = None
    """When the user was first seen in the room."""
    user_left_at: float | None = None
    """When we last learned that the user, or a guest, had left the room."""
    webhooks_arrive: bool = False
    listing_since: float | None = None
    """When LiveKit was asked for the room's participants, until it responds."""
    listing_failures: int = 0
    """Failed listings in a row."""
    listed_at: float | None = None
    """When LiveKit last responded to a listing, or failed to."""
    listed_as_of: float = -math.inf
    """When the newest applied listing was requested. Older listings are outdated."""
    end: End | None = None

    state_since: float = 0.0
    """When the derived state last changed."""
    ready_at: float | None = None
    """When all required services were ready for the first time in this room."""
    waiting_again_since: float | None = None
    """When it began to wait again, because the room was lost after all had been ready."""
    revision: int = 1
    """Incremented by every change that clients can see."""
    state_revision: int = 1
    """The revision with which the derived state last changed; 1: it is still the first one."""

    @property
    def state(self) -> SessionState:
        if self.end is not None:
            return SessionState.FAILED if self.end.reason in FAILURES else SessionState.ENDED
        if not self.all_ready:
            return SessionState.WAITING if self.ready_at is None else SessionState.DEGRADED
        return SessionState.ACTIVE if self.someone_here else SessionState.READY

    @property
    def has_generated_name(self) -> bool:
        """Whether its room has a name that no other application gives to a room."""
        return self.room_name == generated_room_name(self.session_id)

    @property
    def all_ready(self) -> bool:
        if self.room.created_at is None:
            return False
        for service in self.services:  # a loop, as it is asked again and again
            attempt = service.current
            if not attempt.is_ready and not service.requirement.optional:
                return False
        return True

    @property
    def tenant(self) -> str:
        """Whose room name it is: the caller's that requested it, or that of the group with which it is shared."""
        return self.shared_with or self.owner

    @property
    def someone_here(self) -> bool:
        """Whether the user or a guest is in the room."""
        return self.user_presence.here or (bool(self.guests) and any(guest.presence.here for guest in self.guests))

    @property
    def over(self) -> bool:
        return self.end is not None

    @property
    def is_being_set_up(self) -> bool:
        """Whether its room is being made, or services are to be invited or have not answered yet."""
        attempts = (service.current for service in self.services)
        is_inviting = any(attempt.number == 0 or attempt.in_flight for attempt in attempts)
        return not self.over and (self.room.created_at is None or is_inviting)

    @property
    def waiting_since(self) -> float:
        """When its services began to be awaited, for the first time or again."""
        return self.created_at if self.waiting_again_since is None else self.waiting_again_since

    @property
    def ready_deadline(self) -> float:
        return self.waiting_since + self.limits.ready_timeout

    @property
    def is_cleaned_up(self) -> bool:
        """Whether it is over and its room is deleted."""
        return self.end is not None and self.end.cleaned_at is not None

    @property
    def may_be_remade(self) -> bool:
        """Whether its room is made again if it is lost. Not if someone came into it once it was ready: that the user
        left may be the first that is heard of the loss."""
        was_entered = self.ready_at is not None and (self.someone_here or self.user_left_at is not None)
        return not self.over and not was_entered and self.room.remakes < REMAKES_MAX

    @property
    def trace(self) -> TraceContext | None:
        """The trace context to which all work for the session belongs."""
        return read_trace(self.traceparent, self.tracestate)

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of every log entry about it."""
        trace = self.trace
        fields = {"session_id": self.session_id, "room": self.room_name}
        return fields if trace is None else {**fields, "trace_id": trace.trace_id}

    def reason_of(self, service: RequiredService) -> ServiceReason | None:
        """Why this service is not ready. While it may still become ready, only known faults count; once the session is
        over, also a service that was merely late has a reason."""
        return service.current.shortfall if self.over else service.current.fault

    def entry_of(self, identity: str) -> int | None:
        """The index of the entry whose service was invited or joined under this identity."""
        for entry, service in enumerate(self.services):
            if service.current.identity == identity:
                return entry
        return None

    def guest(self, identity: str) -> Guest | None:
        return next((guest for guest in self.guests if guest.identity == identity), None)

    @property
    def watching(self) -> str | None:
        """The identity of the manager that is connected to the room."""
        return self.manager.identity if self.manager.is_connected else None

    def is_watched(self, presence: Presence) -> bool:
        """Whether the manager sees this participant in the room, and is connected to it."""
        return presence.seen_by is not None and presence.seen_by == self.watching

    def may_be_watched(self, presence: Presence, at: float) -> bool:
        """Whether it is watched at this instant, or joined too recently for the manager to see it yet."""
        known_since = -math.inf if presence.reported_at is None else presence.reported_at
        is_recent = self.manager.is_connected and at < known_since + ROOM_EVENT_LAG
        return is_recent or self.is_watched(presence)

    @property
    def presences(self) -> tuple[Presence, ...]:
        return (
            self.user_presence,
            self.manager.presence,
            *(service.presence for service in self.services),
            *(guest.presence for guest in self.guests),
            *(stale.presence for stale in self.stale_participants),
        )

    @property
    def doubts(self) -> int:
        """How many of LiveKit's latest answers in a row lacked the room or a participant that the manager does not see.
        If any did, it must be asked again."""
        room, is_connected = self.room, self.manager.is_connected
        is_open = room.misses < ROOM_MISSES_MAX or not is_connected or self.may_be_remade
        in_room = room.misses if is_open else 0
        missed = [one for one in self.presences if one.misses]
        doubted = [one.misses for one in missed if one.misses < MISSES_MAX or not self.is_watched(one)]
        return max(in_room, int(room.reported_closed), *doubted)

    @property
    def leave_check_at(self) -> float:
        """When to list the room to check reported leaves; infinity if a listing has shown them all.

        A listing shows one LISTING_LAG after it was reported. If the manager in the room sees the participant, an
        earlier one may confirm the leave.
        """
        presences = self.presences
        doubted = [one.leave_reported_at for one in presences if one.leave_reported_at is not None]
        believed = [one.last.at for one in presences if one.last is not None and one.last.seen_by is None]
        checks = [*doubted, *(at + LISTING_LAG for at in (*doubted, *believed))]
        return min((at for at in checks if at > self.listed_as_of), default=math.inf)

    def stale_participant(self, identity: str) -> StaleParticipant | None:
        return next((stale for stale in self.stale_participants if stale.identity == identity), None)

    def is_stale(self, identity: str) -> bool:
        return self.stale_participant(identity) is not None

    def invited_as(self, invite_id: str | None) -> str | None:
        """The identity of the service with this invite id."""
        entry = index_of(self.services, lambda service: bool(invite_id) and service.invite_id == invite_id)
        return None if entry is None else self.services[entry].identity

    def has_applied(self, identity: str, signal: Signal) -> bool:
        """Whether this signal of the service has taken effect and can be acknowledged."""
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


def index_of(services: tuple[RequiredService, ...], wanted: Callable[[RequiredService], bool]) -> int | None:
    return next((i for i, service in enumerate(services) if wanted(service)), None)
