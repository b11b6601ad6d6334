"""Callers and their permissions. PURE.

Each operation in routes.py requires a `Permission`; a `Principal` is the authenticated caller and its scopes.
authentication.py identifies callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do."""

    SESSIONS = "sessions"
    """Create sessions, and see and end the caller's own."""
    SERVICES = "services"
    """Register services, see and change the caller's own, and see the shared ones."""
    ADMIN = "admin"
    """See and end all sessions, and everything else except their tokens."""
    METRICS = "metrics"
    """Read /metrics."""


class Permission(StrEnum):
    """What an operation requires of its caller."""

    PUBLIC = "public"
    """Nothing: the operation does not show or change any caller's data."""
    OWN_PROOF = "own_proof"
    """A credential that the operation verifies itself: an invite's token, or LiveKit's signature."""
    SESSIONS = "sessions"
    SERVICES = "services"
    ADMIN = "admin"
    METRICS = "metrics"
    FRONT_END = "front_end"
    """The scope `sessions`, or a user authenticated by the callers' own issuer."""

    @property
    def scope(self) -> Scope | None:
        """The scope that it requires; None when it requires none."""
        return SCOPES[self]


SCOPES: Mapping[Permission, Scope | None] = {
    Permission.PUBLIC: None,
    Permission.OWN_PROOF: None,
    Permission.SESSIONS: Scope.SESSIONS,
    Permission.SERVICES: Scope.SERVICES,
    Permission.ADMIN: Scope.ADMIN,
    Permission.METRICS: Scope.METRICS,
    Permission.FRONT_END: Scope.SESSIONS,
}


class Proof(StrEnum):
    """A credential that an operation verifies itself."""

    INVITE = "invite"
    """The token of a service's invite."""
    SIGNATURE = "signature"
    """LiveKit's signature of a webhook."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    name: str
    """Unique to the caller. Sessions and services are owned under this name."""
    scopes: frozenset[Scope] = frozenset()
    identity: str | None = None
    """For a user authenticated by the callers' issuer: the only identity for which it may get tokens."""
    group: str = ""
    """For a user authenticated by the callers' issuer: the name that all users of the issuer have in common."""
    shared_rooms: frozenset[str] = frozenset()
    """The names of the rooms that this user shares with the other users of the group."""
    is_trusted: bool = False
    """Whether it is exempt from per-caller limits (dev mode on loopback)."""
    expires_at: float | None = field(default=None, compare=False)
    """When its credentials expire, in seconds since the epoch; None when they do not."""

    def may(self, access: Permission) -> bool:
        """Whether it has this permission. What `admin` adds within an operation is up to that operation."""
        if (scope := access.scope) is None or scope in self.scopes:
            return True
        return access is Permission.FRONT_END and self.identity is not None

    def owns(self, owner: str) -> bool:
        return self.name == owner

    def group_in(self, room_name: str) -> str:
        """The group with which it shares this room; empty if it does not."""
        return self.group if room_name in self.shared_rooms else ""

    def may_enter(self, owner: str, shared_with: str, room_name: str) -> bool:
        """Whether it may enter the room of a session of `owner`, shared with the group `shared_with`."""
        return self.owns(owner) or self.group_in(room_name) == shared_with != ""

    def sees(self, owner: str) -> bool:
        """Whether it may see and end what `owner` created. The health check's sessions have no owner: no caller sees
        them."""
        return bool(owner) and (self.owns(owner) or Scope.ADMIN in self.scopes)

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def may_register_over(self, owner: str) -> bool:
        """Whether it may replace a service that `owner` registered. One from dev mode, or from before there were keys,
        has no owner any more: the caller that registers it again owns it."""
        return self.sees(owner) or owner in (ANONYMOUS.name, DEVELOPER.name)


ANONYMOUS = Principal("")
"""An unauthenticated caller, which owns nothing."""
DEVELOPER = Principal("dev", frozenset(Scope), is_trusted=True)
"""Every caller, in dev mode on loopback."""
