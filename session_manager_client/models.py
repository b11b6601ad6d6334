"""What the API answers, as far as this version knows it: other fields of later servers are ignored.

States, reasons and other words are plain strings, for a later server may have new ones.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ApiModel(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)


class RequiredServiceInfo(ApiModel):
    """One required service of a session."""

    service_id: str | None
    type: str | None
    state: str
    optional: bool
    reason: str | None
    detail: str | None = None
    """More about the reason."""
    ready_by: str | None = None
    attempt: int = 0
    timeline: dict[str, str] = Field(default_factory=dict)
    """The instants known so far, by name."""


class SessionInfo(ApiModel):
    session_id: str
    room_name: str
    state: str
    user_identity: str
    user_name: str
    metadata: dict[str, Any]
    services: list[RequiredServiceInfo]
    created_at: str
    ready_at: str | None
    ready_deadline: str
    """The session fails unless all required services are ready by then."""
    ended_at: str | None
    reason: str | None
    revision: int
    """Increases with each change of what is shown here."""


class ReadySession(SessionInfo):
    """A session with a token for its user, which it has while it is ready or active."""

    server_url: str
    access_token: str = Field(repr=False)
    token_expires_at: str


class ParticipantAccess(ApiModel):
    """Another participant, with a token for the session's room."""

    identity: str
    name: str
    room_name: str
    server_url: str
    access_token: str = Field(repr=False)
    token_expires_at: str


class SessionPage(ApiModel):
    sessions: list[SessionInfo]
    next_cursor: str | None


class ServiceInfo(ApiModel):
    """A registered service and its current status."""

    service_id: str
    type: str
    state: str
    endpoint: str | None
    agent_name: str | None
    ready_on: str
    labels: dict[str, str]
    metadata: dict[str, Any]
    registered_at: str
    static: bool
    shared: bool
    """Whether the sessions of every caller may use it. Its endpoint is null for others than its owner."""
    in_flight: int
    """The number of required services of live sessions for which it is chosen."""
    capacity: int | None
    load: float | None
    """The load that it last reported, 0 to 1."""
    lease_seconds: float | None
    lease_expires_at: str | None


class RegisteredServiceInfo(ServiceInfo):
    """A service that was just registered."""

    warning: str | None = None
    """Why no invite will reach it, if that is known already."""


class ServiceListing(ApiModel):
    services: list[ServiceInfo]


class ReplicaSummary(ApiModel):
    """One of the processes that serve a deployment together."""

    id: str
    name: str
    version: str
    leads: bool
    draining: bool
    sessions: int
    """The live sessions for which it acts."""


class DrainingReplica(ApiModel):
    replica_id: str
    sessions: int
    """The live sessions that it still has."""


class RedisInfo(ApiModel):
    state: str
    since: str
    detail: str | None


class ServerHealth(ApiModel):
    status: str = "ok"
    version: str = ""
    manager_agent: str
    recovery: str = "complete"
    unreadable_rooms: int = 0
    redis: RedisInfo | None = None
    replica_id: str | None = None
    """The id of the replica that answers; None without REDIS_URL."""
    replicas: tuple[ReplicaSummary, ...] = ()


class HealthProof(ApiModel):
    status: str = "ok"
    version: str = ""
    took_ms: int
    """Milliseconds taken to create a room, see the manager join, join it, and get a reply from the manager."""
    webhooks: str
    """Whether LiveKit's webhooks about that room arrived."""


class StepInfo(ApiModel):
    name: str
    at: str


class LateInfo(ApiModel):
    """What is expected from a service that is not ready yet, whether or not it is overdue."""

    awaited: str
    since: str
    due: str | None
    retry_at: str | None


class AttemptInfo(ApiModel):
    """One attempt to get a service for an entry of the session."""

    entry: int
    """The index of the required service in the session, from 0."""
    attempt: int
    service_id: str
    type: str
    optional: bool
    state: str
    reason: str | None
    detail: str | None
    ready_by: str | None
    tries: int
    """The number of times the invite was sent."""
    timeline: dict[str, str]
    until: str | None
    """When the next attempt replaced it; None for the current attempt."""
    late: LateInfo | None


class TimelineInfo(ApiModel):
    session_id: str
    room_name: str
    state: str
    reason: str | None
    revision: int
    created_at: str
    ready_at: str | None
    ready_deadline: str
    ended_at: str | None
    now: str
    """The server's clock."""
    trace_id: str | None
    steps: list[StepInfo]
    """The steps known so far, in order of time."""
    attempts: list[AttemptInfo]
    """Ordered by entry; the current attempt of each entry is last."""
    log: list[dict[str, Any]] | None
    """The newest log entries about this session; None unless the caller has the scope `admin`."""


class DependencyInfo(ApiModel):
    """A system that the server depends on."""

    name: str
    state: str
    since: str
    detail: str | None


class FeedHealth(ApiModel):
    dependencies: list[DependencyInfo]
    time: str
    """The server's clock."""
    version: str
    replica_id: str | None = None
    replicas: tuple[ReplicaSummary, ...] = ()


class CallerInfo(ApiModel):
    name: str
    scopes: list[str]


class FeedSnapshot(ApiModel):
    """The current state."""

    sessions: list[SessionInfo]
    services: list[ServiceInfo] | None
    """None if the caller lacks the scope `services`."""
    health: FeedHealth
    profiles: list[str]
    caller: CallerInfo


class ForgottenSession(ApiModel):
    """A session can no longer be read."""

    session_id: str


class RemovedService(ApiModel):
    """A service is no longer registered."""

    service_id: str


FeedItem = FeedSnapshot | SessionInfo | ForgottenSession | ServiceInfo | RemovedService | FeedHealth
"""One item of the feed."""
