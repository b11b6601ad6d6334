"""The changes of a session, as values. PURE. changes.py derives them from the session before and after an event."""

from __future__ import annotations

from enum import StrEnum

from manager_agent.frozen import Frozen
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


class SessionOpened(Frozen):
    """The session is new."""


class SessionRestored(Frozen):
    """The session is new in this process: an earlier one had it."""


class SessionForgotten(Frozen):
    """The session was removed from the store."""


class Revised(Frozen):
    """Something that clients can see changed: the session has a new revision."""


class RoomAnswered(Frozen):
    """LiveKit made the room or refused to: see `session.room`."""

    since: float
    """When LiveKit was asked."""
    again: bool
    """Whether the session had a room before, that seemed to be lost."""


class RoomLost(Frozen):
    """LiveKit had lost the room and has made another one. The services are invited again."""

    sid: str
    """Of the room that was lost."""
    remakes: int
    """How often the session's room was made again."""


class SessionCreated(Frozen):
    """Its room exists, or it is over without one. Never for a session whose room name belongs to another room."""


class StateChanged(Frozen):
    before: SessionState
    after: SessionState
    lasted: float
    """Seconds in the state before."""


class SessionReady(Frozen):
    """The session is ready for the first time."""

    seconds: float
    """Seconds since it was requested."""


class SessionEnded(Frozen):
    reason: EndReason


class CleanUpEnded(Frozen):
    since: float
    """When this clean-up started."""
    tries: int
    """How many clean-ups were started so far."""
    failed: bool


# --- the user and the manager -----------------------------------------------------------------------


class UserJoined(Frozen):
    """The user joined, or rejoined as a new participant."""


class UserLeft(Frozen):
    """The user left the room."""


class ManagerDispatchedAgain(Frozen):
    """The previous manager did not join, or is gone."""


class ManagerDispatchEnded(Frozen):
    """A dispatched manager joined, or is no longer awaited."""

    attempt: int
    identity: str | None
    since: float
    """When it was dispatched."""
    failed: bool
    """It did not join in time. False if the session ended first for another reason than a failure."""


# --- services: `entry` is the index in `session.services` -------------------------------------------


class AttemptStarted(Frozen):
    """An instance is invited, possibly the same as in the previous attempt."""

    entry: int


class InviteAnswered(Frozen):
    """A try of the current attempt's invite was answered, or could not be delivered."""

    entry: int
    outcome: InviteOutcome


class InviteAbandoned(Frozen):
    """The room was lost during a try of the current attempt's invite: its answer no longer counts."""

    entry: int


class StepTaken(Frozen):
    """The current attempt of an entry took a step."""

    entry: int
    step: AttemptStep
    at: float
    since: float
    """When this step started to be awaited; `at` for a step that is not awaited."""
    is_first: bool
    """The first time in this attempt: it may accept, join and become ready again."""


class AttemptEnded(Frozen):
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


class WebhookAwaited(Frozen):
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
