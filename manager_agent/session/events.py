"""Everything that can happen to a session, in the past tense, as values.

PURE. The edges translate HTTP calls, webhooks, room events, packets and timers into these, and transitions.py
applies them. `at` is always the instant in seconds since the epoch.

*Observations* are what the network said: they may repeat, be late, be wrong, and then change nothing.
*Records* are what we did or are about to do ourselves, written down before the I/O, so that nothing is
started twice: a record that changes nothing means that the action was started already, and the I/O is not done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Evidence(StrEnum):
    """What made a service ready. The first one counts."""

    JOIN = "join"
    MESSAGE = "message"
    ATTRIBUTE = "attribute"
    HTTP = "http"


class Refusal(StrEnum):
    """Why one try of an invite failed."""

    UNREACHABLE = "unreachable"
    DECLINED = "declined"


class ReadyOn(StrEnum):
    JOIN = "join"
    SIGNAL = "signal"


class Signal(StrEnum):
    """What a service may say of itself."""

    READY = "ready"
    FAILED = "failed"
    PROGRESS = "progress"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The instance that is to be invited: one of the registered services."""

    service_id: str
    type: str
    endpoint: str | None = None
    agent_name: str | None = None
    ready_on: ReadyOn = ReadyOn.JOIN


@dataclass(frozen=True, slots=True)
class ParticipantInfo:
    """One participant as a room event, a webhook or a listing shows it."""

    identity: str
    sid: str
    joined_ms: int = 0
    is_agent: bool = False
    """LiveKit's participant kind AGENT; only who holds the API secret can give it."""
    attributes: Mapping[str, str] = field(default_factory=dict)


# --- observations -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParticipantSeen:
    """A participant is in the room: a join, a change of its attributes and a sweep all say just this."""

    at: float
    participant: ParticipantInfo


@dataclass(frozen=True, slots=True)
class ParticipantLeft:
    at: float
    identity: str
    sid: str
    aborted: bool = False
    """It never got as far as being in the room."""


@dataclass(frozen=True, slots=True)
class RoomListed:
    """LiveKit listed the participants of the room; `asked_at` is when it was asked."""

    at: float
    asked_at: float
    participants: tuple[ParticipantInfo, ...]
    """Those who are fully there."""
    joining: tuple[str, ...] = ()
    """Identities still on their way in: not joined, and not gone either."""


@dataclass(frozen=True, slots=True)
class ListingFailed:
    """LiveKit did not answer who is in the room."""

    at: float
    asked_at: float


@dataclass(frozen=True, slots=True)
class WebhookArrived:
    """LiveKit's webhooks reach us for this room."""

    at: float


@dataclass(frozen=True, slots=True)
class RoomClosed:
    """The room is gone. `sid` is empty when the source did not tell which one of that name."""

    at: float
    sid: str = ""
    told: bool = False
    """A webhook said so; otherwise we found out, by asking for the room."""


@dataclass(frozen=True, slots=True)
class ServiceSignalled:
    """A service reported its own state. The translation into this event has verified the identity."""

    at: float
    identity: str
    signal: Signal
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """A dispatched job for this room is about to be taken, under `identity`. The first one is in charge."""

    at: float
    identity: str


@dataclass(frozen=True, slots=True)
class ManagerFailed:
    """The manager `identity` could not come, or is gone."""

    at: float
    identity: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A timer went off. Whether anything is due is for the session to say."""

    at: float


# --- records ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoomRequested:
    """The room is about to be created; its manager's first dispatch goes with it."""

    at: float


@dataclass(frozen=True, slots=True)
class RoomCreated:
    at: float
    sid: str


@dataclass(frozen=True, slots=True)
class RoomRefused:
    """LiveKit did not make the room; `taken` when it showed a room of that name that is not ours."""

    at: float
    taken: bool = False


@dataclass(frozen=True, slots=True)
class ManagerDispatched:
    """The manager is about to be dispatched for the `attempt`-th time, to come as `identity`."""

    at: float
    attempt: int
    identity: str


@dataclass(frozen=True, slots=True)
class InviteStarted:
    """Try number `tries` of the invite of entry `entry` is about to be sent."""

    at: float
    entry: int
    attempt: int
    tries: int
    identity: str | None
    """The identity it is to join under; None when LiveKit's dispatch gives it one."""
    invite_id: str
    instead: Chosen | None = None
    """Who is invited, if that is not for the entry to say: another instance, or the same as it is registered now."""


@dataclass(frozen=True, slots=True)
class InviteAccepted:
    at: float
    entry: int
    attempt: int
    tries: int


@dataclass(frozen=True, slots=True)
class InviteRefused:
    at: float
    entry: int
    attempt: int
    tries: int
    why: Refusal
    final: bool = False
    """The service asked not to be called again."""


@dataclass(frozen=True, slots=True)
class ReplacementHeld:
    """No replacement can be invited for this service before `until`."""

    at: float
    entry: int
    attempt: int
    until: float


@dataclass(frozen=True, slots=True)
class RemovalStarted:
    """A participant of an older attempt is about to be removed from the room."""

    at: float
    identity: str


@dataclass(frozen=True, slots=True)
class RemovalEnded:
    at: float
    identity: str
    removed: bool


@dataclass(frozen=True, slots=True)
class ListingStarted:
    """LiveKit is about to be asked who is in the room."""

    at: float


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The owner ended it, or the client that was waiting for it went away."""

    at: float
    by_client_gone: bool = False


@dataclass(frozen=True, slots=True)
class CleanUpStarted:
    """The room is about to be deleted and the services told."""

    at: float


@dataclass(frozen=True, slots=True)
class CleanedUp:
    at: float


@dataclass(frozen=True, slots=True)
class CleanUpFailed:
    """The room may still be there."""

    at: float


Event = (
    ParticipantSeen | ParticipantLeft | RoomListed | ListingFailed | WebhookArrived | RoomClosed
    | ServiceSignalled | JobAccepted | ManagerFailed | DeadlinePassed
    | RoomRequested | RoomCreated | RoomRefused | ManagerDispatched | InviteStarted | InviteAccepted
    | InviteRefused | ReplacementHeld | RemovalStarted | RemovalEnded | ListingStarted | SessionClosed
    | CleanUpStarted | CleanedUp | CleanUpFailed
)  # fmt: skip
