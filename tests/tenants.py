"""Callers of an API outside dev mode, and their credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from livekit import api as lk

from http_api.access.api_keys import DEFAULT_SCOPES, KeyEntry, digest_of, new_key
from http_api.access.principals import Scope
from manager_agent.outbound.address_policy import LOOPBACK

LIVEKIT_KEY, LIVEKIT_SECRET = "livekit-key", "a-livekit-secret-of-thirty-two-bytes-or-more"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A caller with an API key."""

    name: str
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    key: str = field(default_factory=new_key, repr=False)

    @property
    def entry(self) -> KeyEntry:
        return KeyEntry(self.name, digest_of(self.key), self.scopes)

    @property
    def proof(self) -> dict[str, str]:
        """The header that proves it."""
        return bearer(self.key)


ACME, RIVAL = Tenant("acme"), Tenant("rival")
OPERATOR = Tenant("operator", frozenset(Scope))
WATCHER = Tenant("watcher", frozenset({Scope.METRICS}))
TENANTS = (ACME, RIVAL, OPERATOR, WATCHER)


def bearer(proof: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {proof}"}


def livekit_token(
    identity: str = "", *, key: str = LIVEKIT_KEY, secret: str = LIVEKIT_SECRET, lasts: float = 3_600.0, **grants: Any
) -> str:
    """A JWT as LiveKit takes it: for its server API, or with an identity to join a room. It lasts so many seconds."""
    token = lk.AccessToken(key, secret).with_identity(identity).with_ttl(timedelta(seconds=lasts))
    return token.with_grants(lk.VideoGrants(**grants)).to_jwt()


def production(**more: Any) -> dict[str, Any]:
    """Settings of an API outside dev mode, whose callers are the tenants. Its services are on this machine."""
    return {
        "api_keys": tuple(tenant.entry for tenant in TENANTS),
        "livekit_api_key": LIVEKIT_KEY,
        "livekit_api_secret": LIVEKIT_SECRET,
        "invite_networks": LOOPBACK,
        "callback_networks": LOOPBACK,
        "server_host": "127.0.0.1",
        **more,
    }
