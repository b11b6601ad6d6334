"""The models of health checks, and of the replicas that serve a deployment together."""

from __future__ import annotations

from typing import Literal, Self

from http_api import VERSION
from http_api.models.responses import View
from manager_agent.replicas.lease import ReplicaInfo


class ReplicaView(View):
    """One of the processes that serve a deployment together."""

    id: str
    name: str
    version: str
    leads: bool
    """Whether it is the one that compares the sessions with LiveKit's rooms."""
    draining: bool
    """Whether it hands its sessions over and takes none."""
    sessions: int
    """The live sessions for which it acts."""

    @classmethod
    def of(cls, replica: ReplicaInfo, leader: str) -> Self:
        return cls(
            id=replica.replica_id,
            name=replica.address,
            version=replica.version,
            leads=replica.replica_id == leader,
            draining=replica.is_draining,
            sessions=replica.sessions,
        )


class Draining(View):
    replica_id: str
    """The id of the replica that drains."""
    sessions: int
    """The live sessions that it still has."""


class RedisView(View):
    state: Literal["up", "away", "refuses_writes"]
    since: str
    """When it was first seen in this state."""
    detail: str | None
    """Why it is away or refuses writes; null when it is up."""


class Health(View):
    status: Literal["ok"] = "ok"
    version: str = VERSION
    manager_agent: Literal["registered", "not registered"]
    recovery: Literal["complete", "under way"] = "complete"
    """Whether the sessions of an earlier process are known."""
    unreadable_rooms: int = 0
    """Rooms of this deployment whose session can't be continued. They are left alone."""
    redis: RedisView | None = None
    """Null without REDIS_URL."""
    replica_id: str | None = None
    """The id of the replica that answers; null without REDIS_URL."""
    replicas: tuple[ReplicaView, ...] = ()
    """All replicas that are alive, as far as this one knows."""


class Alive(View):
    status: Literal["ok"] = "ok"


class Ready(View):
    status: Literal["ok"] = "ok"
    redis: RedisView | None = None
    """Null without REDIS_URL."""


class Proven(View):
    status: Literal["ok"] = "ok"
    version: str = VERSION
    took_ms: int
    """Milliseconds taken to create a room, see the manager join, join it, and get a reply from the manager."""
    webhooks: Literal["arrived", "none came"]
    """Whether LiveKit's webhooks about that room arrived."""
