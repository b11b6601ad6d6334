"""What the feed tells: the shapes of its events, besides those of sessions and services themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from http_api import VERSION
from http_api.access.principals import Principal, Scope
from http_api.models.responses import ServiceView, SessionView, View
from http_api.observability.upstreams import DependencyState, Found, Upstreams
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
    """Something that the server can't do without."""

    name: str
    state: DependencyState
    since: str
    """When it was first seen in this state."""
    detail: str | None
    """What is wrong with it."""

    @classmethod
    def of(cls, found: Found) -> Self:
        return cls(name=found.name, state=found.state, since=rfc3339(found.since), detail=found.trouble)


class HealthView(View):
    dependencies: list[DependencyView]
    time: str
    """The server's clock."""
    version: str

    @classmethod
    def of(cls, upstreams: Upstreams, now: float) -> Self:
        found = [DependencyView.of(one) for one in upstreams.found]
        return cls(dependencies=found, time=rfc3339(now), version=VERSION)


class CallerView(View):
    """Who is asking."""

    name: str
    scopes: list[Scope]

    @classmethod
    def of(cls, principal: Principal) -> Self:
        return cls(name=principal.name, scopes=sorted(principal.scopes))


class Snapshot(View):
    """Everything as it is."""

    sessions: list[SessionView]
    """Those that are live, then those that are over, each newest first: as many as the feed begins with."""
    services: list[ServiceView] | None
    """Null for who lacks the scope `services`."""
    health: HealthView
    profiles: list[str]
    caller: CallerView


class Forgotten(View):
    """A session can't be read any more."""

    session_id: str


class ServiceGone(View):
    """A service is registered no more."""

    service_id: str


Told = Snapshot | SessionView | Forgotten | ServiceView | ServiceGone | HealthView
"""The data of an event."""
