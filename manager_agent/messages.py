"""The wire protocol: invites to services, messages in the room, and the room's metadata.

One model per message, shared by the manager and the service kit. Payloads from outside go through `parse_signal`,
which bounds their size and raises only `UnreadableMessage`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from manager_agent.clock_origin import ClockOrigin
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Evidence as Evidence
from manager_agent.session.events import ReadyOn as ReadyOn
from manager_agent.session.events import Signal as Signal
from manager_agent.session.progress import SessionProgress
from manager_agent.session.service_transitions import STATE_ATTRIBUTE as STATE_ATTRIBUTE
from manager_agent.session.session import EndReason, Session
from manager_agent.session.session import SessionState as SessionState

TOPIC = "session-manager"
"""The topic of data messages and the name of the RPC method."""
SIGNAL_BYTES_MAX = 8 * 1024
"""Longer payloads are rejected unparsed. LiveKit's own limit for an RPC payload is 15 KiB."""
DETAIL_MAX = 1_000


class RpcFault(IntEnum):
    """The codes of our RPC errors. LiveKit's own codes are 1400 to 1999."""

    UNREADABLE = 4000
    """The payload is no message."""
    UNKNOWN_CALLER = 4030
    """No service was invited under this identity, or the invite is not known yet. Repeat the signal."""
    NOT_NOW = 4090
    """The service has left or failed."""
    TOO_MANY = 4290
    """The participant sends too many messages. Pause."""
    NOT_RECORDED = 5030
    """LiveKit does not take the session's record at the moment. Repeat the signal."""


class Message(BaseModel):
    """Unknown fields are ignored, so that fields can be added to any message."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


# --- from a service to the manager ------------------------------------------------------------------


class ServiceMessage(Message):
    """A signal of a service, sent by RPC or as a data message."""

    type: Signal
    detail: Annotated[str, Field(max_length=DETAIL_MAX)] | None = None
    service_id: str | None = None
    invite_id: str | None = None
    """Data messages carry `service_id` and `invite_id`. A `service_id` alone is not proof of identity."""


class Ack(Message):
    """The reply to a data message, on the same topic."""

    type: Literal["ack"] = "ack"
    invite_id: str


class Answer(Message):
    """The reply to an RPC, and to a ready signal over HTTP."""

    ok: Literal[True] = True
    revision: int


class UnreadableMessage(ValueError):
    """The payload is not a valid message of a service."""


def parse_signal(payload: bytes | str) -> ServiceMessage:
    """The message in `payload`, UTF-8 JSON of at most SIGNAL_BYTES_MAX bytes. Raises UnreadableMessage."""
    size = len(payload) if isinstance(payload, bytes) else len(payload.encode(errors="surrogatepass"))
    if size > SIGNAL_BYTES_MAX:
        raise UnreadableMessage(f"the payload has {size} bytes; the maximum is {SIGNAL_BYTES_MAX}")
    try:
        return ServiceMessage.model_validate_json(payload)
    except ValidationError as wrong:
        raise UnreadableMessage(f"not a valid service message: {wrong.errors()[0]['msg']}") from None


# --- to the room ------------------------------------------------------------------------------------


class ServiceStatus(Message):
    service_id: str
    type: str
    state: ServiceState
    optional: bool = False


class RoomStatus(Message):
    """The room's metadata: the session's status, readable by every participant. It must contain nothing private."""

    session_manager: Literal[1] = 1
    deployment: str = ""
    """The deployment that owns the room."""
    session_id: str
    state: SessionState
    reason: EndReason | None = None
    services: list[ServiceStatus]
    manager_identity: str | None
    revision: int
    progress: SessionProgress | None = None
    """What the session manager itself needs to continue the session after a restart."""

    @classmethod
    def of(cls, session: Session, deployment: str, clock: ClockOrigin | None = None) -> RoomStatus:
        """`clock`: the origin of the clock that the session's instants are by."""
        return cls(
            deployment=deployment,
            session_id=session.session_id,
            state=session.state,
            reason=session.end.reason if session.end else None,
            services=[
                ServiceStatus(service_id=s.service_id, type=s.type, state=s.state, optional=s.optional)
                for s in session.services
            ],
            manager_identity=session.manager.identity,
            revision=session.revision,
            progress=SessionProgress.of(session, clock),
        )

    @classmethod
    def read(cls, metadata: str) -> RoomStatus | None:
        """The status in a room's metadata; None when the metadata is not a session manager's."""
        try:
            return cls.model_validate_json(metadata)
        except ValidationError:
            return None


class RoomOwner(Message):
    """The part of a room's metadata that every version of the session manager writes and reads."""

    session_manager: int
    deployment: str = ""
    session_id: str

    @classmethod
    def read(cls, metadata: str) -> RoomOwner | None:
        """None when the metadata is not a session manager's."""
        try:
            return cls.model_validate_json(metadata)
        except ValidationError:
            return None


class DispatchMetadata(Message):
    """The metadata of the manager's own dispatch, which participants can't see."""

    session_id: str
    attempt: int
    specification: str = ""
    """See specification.py."""


def _milliseconds(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(_milliseconds, return_type=str, when_used="json")]
"""In JSON always with milliseconds, also when they are 0: a fixed format is easier to parse."""


# --- to a service -----------------------------------------------------------------------------------


class InvitedSession(Message):
    session_id: str
    room_name: str
    user_identity: str
    metadata: dict[str, Any]


class Invite(Message):
    """Invites a service into a room. A LiveKit agent receives it as dispatch metadata, without token and identity."""

    event: Literal["session_invited"] = "session_invited"
    id: str
    """Stays the same over retries of this invite."""
    createdAt: str  # LiveKit's spelling in its webhooks, in seconds since the epoch
    session: InvitedSession
    service_id: str
    attempt: int
    identity: str | None = None
    token: str | None = Field(default=None, repr=False)
    server_url: str
    manager_identity: str | None
    ready_on: ReadyOn
    ready_deadline: Instant
    traceparent: str | None = None
    tracestate: str | None = None
    """The trace context for the service to continue; also in the HTTP headers of the same names."""


class SessionEndedMessage(Message):
    """Tells a service that the session has ended."""

    event: Literal["session_ended"] = "session_ended"
    id: str
    createdAt: str
    session: InvitedSession
    service_id: str
    attempt: int
    identity: str | None = None
    reason: str


def invited_session(session: Session) -> InvitedSession:
    return InvitedSession(
        session_id=session.session_id,
        room_name=session.room_name,
        user_identity=session.user.identity,
        metadata=session.metadata.parsed(),
    )


def instant(at: float) -> datetime:
    """The UTC datetime for an instant in seconds since the epoch, truncated to milliseconds like every time we show."""
    return datetime.fromtimestamp(int(at * 1000) / 1000, UTC)


def rfc3339(at: float) -> str:
    """The instant `at` (seconds since the epoch) as RFC 3339 in UTC with milliseconds. A session has twenty of them."""
    seconds, milliseconds = divmod(int(at * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{_minute(minutes)}:{seconds:02}.{milliseconds:03}Z"


@lru_cache(maxsize=1_000)  # most instants that are shown are of the last few minutes
def _minute(minutes: int) -> str:
    """The first part of an instant, down to its minute."""
    return datetime.fromtimestamp(minutes * 60, UTC).isoformat()[: len("2026-01-31T12:00")]
