"""Every kind of connection that this server opens, and how it is reached: directly, or through a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from http_api.settings.settings import Settings
from manager_agent.proxy_rule import ProxyRule


@dataclass(frozen=True, slots=True)
class OutgoingConnection:
    what: str
    how: str


def outgoing_connections(settings: Settings, rule: ProxyRule) -> Iterator[OutgoingConnection]:
    """All of them with these settings."""
    yield OutgoingConnection("livekit", rule.describe(settings.livekit_server_url))
    if settings.vector_log_enabled:
        yield OutgoingConnection("logs", rule.describe(settings.vector_log_endpoint.url))
    if settings.traces_url is not None:
        yield OutgoingConnection("traces", rule.describe(settings.traces_url))
    if settings.jwks_url is not None:
        yield OutgoingConnection("jwks", rule.describe(settings.jwks_url))
    if settings.redis_url is not None:
        yield OutgoingConnection("redis", "always directly")
    # A proxy would connect in our place, and reach what INVITE_NETWORKS and CALLBACK_NETWORKS keep from callers.
    yield OutgoingConnection("invites and callbacks", "always directly")
