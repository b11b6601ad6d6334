"""The changes of a session, as values. PURE. changes.py derives them from the session before and after an event."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from manager_agent.session.attempt import Attempt, ServiceReason
from manager_agent.session.session import FAILURES, EndReason, SessionState


class AttemptStep(StrEnum):
    """The progress of an attempt: the fields of its timeline, in the order in which they are reported."""

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
    NO_WORKER = "no_worker"


class Missable(StrEnum):
    """The LiveKit webhooks whose absence can be detected, by LiveKit's names."""

    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    ROOM_FINISHED = "room_finished"


# --- the session ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The session is new."""


@dataclass(frozen=True, slots=True)
class SessionRestored:
    """The session is new in this process: an earlier one had it."""


@dataclass(frozen=True, slots=True)
class SessionForgotten:
    """The session was removed from the store."""


@dataclass(frozen=True, slots=True)
class Revised:
    """Something that clients can see changed: the session has a new revision."""


@dataclass(frozen=True, slots=True)
class RoomAnswered:
    """LiveKit made the room or refused to: see `session.room`."""

    since: float
    """When LiveKit was asked."""
    again: bool
    """Whether the session had a room before, that seemed to be lost."""


@dataclass(frozen=True, slots=True)
class RoomLost:
    """LiveKit had lost the room and has made another one. The services are invited again."""

    sid: str
    """Of the room that was lost."""
    remakes: int
    """How often the session's room was made again."""


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """Its room exists, or it is over without one. Never for a session whose room name belongs to another room."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    before: SessionState
    after: SessionState
    lasted: float
    """Seconds in the state before."""


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The session is ready for the first time."""

    seconds: float
    """Seconds since it was requested."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    reason: EndReason


@dataclass(frozen=True, slots=True)
class CleanUpEnded:
    since: float
    """When this clean-up started."""
    tries: int
    """How many clean-ups were started so far."""
    failed: bool


# --- the user and the manager -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UserJoined:
    """The user joined, or rejoined as a new participant."""


@dataclass(frozen=True, slots=True)
class UserLeft:
    """The user left the room."""


@dataclass(frozen=True, slots=True)
class ManagerDispatchedAgain:
    """The previous manager did not join, or is gone."""


@dataclass(frozen=True, slots=True)
class ManagerDispatchEnded:
    """A dispatched manager joined, or is no longer awaited."""

    attempt: int
    identity: str | None
    since: float
    """When it was dispatched."""
    failed: bool
    """It did not join in time. False if the session ended first for another reason than a failure."""


# --- services: `entry` is the index in `session.services` -------------------------------------------


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An instance is invited, possibly the same as in the previous attempt."""

    entry: int


@dataclass(frozen=True, slots=True)
class InviteAnswered:
    """A try of the current attempt's invite was answered, or could not be delivered."""

    entry: int
    outcome: InviteOutcome


@dataclass(frozen=True, slots=True)
class InviteAbandoned:
    """The room was lost during a try of the current attempt's invite: its answer no longer counts."""

    entry: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """The current attempt of an entry took a step."""

    entry: int
    step: AttemptStep
    at: float
    since: float
    """When this step started to be awaited; `at` for a step that is not awaited."""
    is_first: bool
    """The first time in this attempt: it may accept, join and become ready again."""


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The next attempt replaced it, or the session ended."""

    entry: int
    attempt: Attempt
    end: EndReason | None
    """Why the session ended; None: the next attempt has started."""

    @property
    def reason(self) -> ServiceReason | None:
        """Why it was not ready; None if it was, or if it still had time when the session ended."""
        return self.attempt.shortfall if self.end is None or self.end in FAILURES else self.attempt.fault

    @property
    def failure(self) -> ServiceReason | None:
        """The reason, if the service is responsible for it; None: the attempt did not fail."""
        if self.end is EndReason.ROOM_CLOSED or self.attempt.lost_with_room:
            return None  # a service that has left was disconnected with the room
        return self.attempt.fault if self.end is EndReason.ROOM_UNAVAILABLE else self.reason


@dataclass(frozen=True, slots=True)
class WebhookAwaited:
    """We found out by a listing what a webhook should report, in a session whose webhooks arrive: it may be on its
    way."""

    event: Missable
    sid: str
    """The sid of its participant or room."""


SessionChange = (
    SessionOpened | SessionRestored | SessionForgotten | Revised | RoomAnswered | RoomLost | SessionCreated
    | StateChanged | SessionReady | SessionEnded | CleanUpEnded | UserJoined | UserLeft | ManagerDispatchedAgain
    | ManagerDispatchEnded | AttemptStarted | InviteAnswered | InviteAbandoned | StepTaken | AttemptEnded
    | WebhookAwaited
)  # fmt: skip
