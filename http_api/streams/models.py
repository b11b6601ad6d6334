"""The models of the feed's events, except those of sessions and services."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from http_api import VERSION
from http_api.access.principals import Principal, Scope
from http_api.models.health import ReplicaView
from http_api.models.responses import ServiceView, SessionView, View
from http_api.observability.upstreams import DependencyState, Upstreams, UpstreamStatus
from http_api.replica import ReplicaStatus
from manager_agent.messages import rfc3339


class FeedEvent(StrEnum):
    """The names of the events."""

    SNAPSHOT = "snapshot"
    SESSION = "session"
    FORGOTTEN = "forgotten"
    SERVICE = "service"
    SERVICE_GONE = "service_gone"
    HEALTH = "health"


class DependencyView(View):
    """A system that the server depends on."""

    name: str
    state: DependencyState
    since: str
    """When it was first seen in this state."""
    detail: str | None
    """Why it is unavailable or refuses writes; null when it is up."""

    @classmethod
    def of(cls, status: UpstreamStatus) -> Self:
        return cls(name=status.name, state=status.state, since=rfc3339(status.since), detail=status.detail)


class HealthView(View):
    dependencies: list[DependencyView]
    time: str
    """The server's clock."""
    version: str
    replica_id: str | None = None
    """The id of the replica that sends this; null without REDIS_URL."""
    replicas: tuple[ReplicaView, ...] = ()
    """All replicas that are alive, as far as this one knows."""

    @classmethod
    def of(cls, upstreams: Upstreams, status: ReplicaStatus | None, now: float) -> Self:
        return cls(
            dependencies=[DependencyView.of(status) for status in upstreams.statuses],
            time=rfc3339(now),
            version=VERSION,
            replica_id=None if status is None else status.own_id,
            replicas=() if status is None else tuple(ReplicaView.of(one, status.leader) for one in status.replicas),
        )


class CallerView(View):
    """The caller."""

    name: str
    scopes: list[Scope]

    @classmethod
    def of(cls, principal: Principal) -> Self:
        return cls(name=principal.name, scopes=sorted(principal.scopes))


class Snapshot(View):
    """The current state."""

    sessions: list[SessionView]
    """The live sessions, then those that are over, each newest first. At most 1,000, fewer if they are large."""
    services: list[ServiceView] | None
    """Null if the caller lacks the scope `services`."""
    health: HealthView
    profiles: list[str]
    caller: CallerView


class Forgotten(View):
    """A session can no longer be read."""

    session_id: str


class ServiceGone(View):
    """A service is no longer registered."""

    service_id: str


EventData = Snapshot | SessionView | Forgotten | ServiceView | ServiceGone | HealthView
"""The data of an event of the feed."""
