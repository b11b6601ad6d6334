"""The events of a session, as values named in the past tense.

PURE. HTTP calls, webhooks, room events, packets and timers are translated into these events at the edges, and
transitions.py applies them. `at` is always the instant in seconds since the epoch.

*Observations* come from the network. They may be repeated, late or wrong, and then change nothing.
*Records* are our own actions, recorded before the I/O so that nothing is started twice: if a record changes nothing,
another task was first, and the I/O is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from manager_agent.frozen import Frozen, field


class Evidence(StrEnum):
    """What made a service ready. The first evidence counts."""

    JOIN = "join"
    MESSAGE = "message"
    ATTRIBUTE = "attribute"
    HTTP = "http"


class Refusal(StrEnum):
    """Why one try of an invite failed."""

    UNREACHABLE = "unreachable"
    DECLINED = "declined"
    NO_WORKER = "no_worker"
    """LiveKit dispatched an agent whose job no worker took."""


class ReadyOn(StrEnum):
    JOIN = "join"
    SIGNAL = "signal"


class Signal(StrEnum):
    """What a service can signal about itself."""

    READY = "ready"
    FAILED = "failed"
    PROGRESS = "progress"
    DRAINING = "draining"


class Chosen(Frozen):
    """The instance to invite, as registered."""

    service_id: str
    type: str
    endpoint: str | None = None
    agent_name: str | None = None
    ready_on: ReadyOn = ReadyOn.JOIN


class ParticipantInfo(Frozen):
    """One participant as reported by a room event, a webhook or a listing."""

    identity: str
    sid: str
    joined_ms: int = 0
    is_agent: bool = False
    """LiveKit's participant kind AGENT, which only a holder of the API secret can grant."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    is_ringing: bool = False
    """A phone whose call is not established."""
    is_hidden: bool = False
    """Other participants, such as the manager, do not see it."""


# --- observations -----------------------------------------------------------------------------------


class ParticipantSeen(Frozen):
    """A participant is in the room, according to a join or a change of its attributes."""

    at: float
    participant: ParticipantInfo
    seen_by: str | None = None
    """The identity of the manager that sees it in the room; None: a webhook reported it."""


class ParticipantLeft(Frozen):
    at: float
    identity: str
    sid: str
    aborted: bool = False
    """Its connection was aborted before it was in the room."""
    replaced: bool = False
    """It was put out by another participant that has joined under the same identity, or that is not ruled out."""
    seen_by: str | None = None
    """The identity of the manager that saw it leave; None: a webhook reported it."""
    may_return: bool = False
    """The manager was cut off too, as by the end of a LiveKit node, and is back first."""


class RoomListed(Frozen):
    """LiveKit listed the room's participants; `asked_at` is when the listing was requested. Listings come from an
    eventually consistent store and may lack participants (livekit#2399)."""

    at: float
    asked_at: float
    participants: tuple[ParticipantInfo, ...]
    """The participants that have joined."""
    joining: tuple[str, ...] = ()
    """Identities that are joining: not in the room yet, and not gone."""
    is_silent: bool = False
    """Whether the node that should have the room was asked for it and did not answer: LiveKit lists the rooms and
    participants of a node that was killed for hours (livekit#3766)."""


class ListingFailed(Frozen):
    """LiveKit did not respond to the listing."""

    at: float
    asked_at: float


class WebhookArrived(Frozen):
    """A webhook of LiveKit about this room arrived."""

    at: float


class RoomClosed(Frozen):
    """A webhook reported that the room is gone. `sid` is empty when it did not say which."""

    at: float
    sid: str = ""


class RoomMissed(Frozen):
    """LiveKit did not know the room when asked for it at `asked_at`."""

    at: float
    asked_at: float
    is_doubted: bool = False
    """Whether it missed the rooms of several sessions at the same time."""
    is_confirmed: bool = False
    """Whether no node says that it has the room, or another room has its name. A list alone ends no session."""


class ServiceSignalled(Frozen):
    """A service sent a signal. The identity was verified by the translating code."""

    at: float
    identity: str
    signal: Signal
    evidence: Evidence
    detail: str | None = None
    """What the service said about it."""


class JobAccepted(Frozen):
    """A dispatched job for this room is about to be taken or accepted under `identity`. The first one is in charge."""

    at: float
    identity: str


class ManagerWaited(Frozen):
    """The manager `identity` still waits until those that its process lets join before it are in their rooms."""

    at: float
    identity: str


class ManagerFailed(Frozen):
    """The manager `identity` could not join, or is gone."""

    at: float
    identity: str


class DeadlinePassed(Frozen):
    """A timer fired. Whether anything is due depends on the session."""

    at: float


# --- records ----------------------------------------------------------------------------------------


class RoomRequested(Frozen):
    """The room is about to be created, for the first time or again; a manager's dispatch goes with it."""

    at: float


class RoomCreated(Frozen):
    """LiveKit has made the room, or has it still."""

    at: float
    sid: str
    manager: str = ""
    """For a room that was made again: the identity of the manager that was dispatched with it, if it is another room
    than before."""


class RoomRefused(Frozen):
    """LiveKit did not create the room. `taken`: a room of that name exists and is not ours."""

    at: float
    taken: bool = False


class ManagerDispatched(Frozen):
    """The manager is about to be dispatched for the `attempt`-th time, to join as `identity`."""

    at: float
    attempt: int
    identity: str


class ManagerDue(Frozen):
    """It is the turn of this session, which was recovered or taken over, to get a manager."""

    at: float


class Interrupted(Frozen):
    """What was begun for this session may have been carried out or not: the process that began it acts no more, or its
    record may be lost."""

    at: float
    manager_at: float | None = None
    """When to dispatch a manager in place of the present one, which is another process's; None: it stays."""
    dispatched_invites: frozenset[str] = frozenset()
    """The ids of the invites for which LiveKit has a dispatch of an agent; they are not sent again."""
    is_from_dead: bool = False
    """Whether the other process is dead, as far as anyone knows: its manager does not leave by itself."""


class InviteStarted(Frozen):
    """Try number `tries` of the invite of entry `entry` is about to be sent."""

    at: float
    entry: int
    attempt: int
    tries: int
    identity: str | None
    """The identity with which it joins; None when LiveKit's dispatch assigns one."""
    invite_id: str
    instead: Chosen | None = None
    """The instance to invite instead of the entry's current one; it may be a newer registration of the same."""


class InviteAccepted(Frozen):
    at: float
    entry: int
    attempt: int
    tries: int
    identity: str | None = None
    """The identity that LiveKit assigned to the dispatched agent, if it is known."""


class InviteRefused(Frozen):
    at: float
    entry: int
    attempt: int
    tries: int
    why: Refusal
    final: bool = False
    """The service asked not to be invited again."""
    detail: str | None = None
    """What the session's owner may know of the reason."""


class ReplacementHeld(Frozen):
    """No other instance can be invited in place of this service before `until`."""

    at: float
    entry: int
    attempt: int
    until: float


class RemovalStarted(Frozen):
    """A participant of an older attempt, or of another session, is about to be removed from the room."""

    at: float
    identity: str
    trespasser: str = ""
    """The sid of a participant of another session."""


class RemovalEnded(Frozen):
    at: float
    identity: str
    removed: bool
    trespasser: str = ""


class ListingStarted(Frozen):
    """LiveKit is about to be asked for the room's participants."""

    at: float


class SessionClosed(Frozen):
    """The owner ended it, or the client that waited for it disconnected."""

    at: float
    by_client_gone: bool = False


class TokenGiven(Frozen):
    """The token endpoint is giving a token for this identity, which is awaited from now on."""

    at: float
    identity: str


class CleanUpStarted(Frozen):
    """The room is about to be deleted and the services notified."""

    at: float


class CleanedUp(Frozen):
    at: float
    deleting_since: float | None = None
    """When LiveKit was asked to delete the room; None: it did not have to."""


class CleanUpFailed(Frozen):
    """The clean-up failed: the room may still exist."""

    at: float


Event = (
    ParticipantSeen | ParticipantLeft | RoomListed | ListingFailed | WebhookArrived | RoomClosed | RoomMissed
    | ServiceSignalled | JobAccepted | ManagerWaited | ManagerFailed | DeadlinePassed
    | RoomRequested | RoomCreated | RoomRefused | ManagerDispatched | ManagerDue | Interrupted
    | InviteStarted | InviteAccepted | InviteRefused | ReplacementHeld | RemovalStarted | RemovalEnded | ListingStarted
    | SessionClosed | TokenGiven | CleanUpStarted | CleanedUp | CleanUpFailed
)  # fmt: skip
