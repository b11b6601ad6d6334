"""Who is asking, and what that allows. PURE.

Every operation says what it takes to be admitted (`Permission`, in routes.py); a `Principal` says what it has.
authentication.py finds out who a caller is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do."""

    SESSIONS = "sessions"
    """ask for sessions, and see and end its own."""
    SERVICES = "services"
    """see all registered services, register some, and speak for those that it registered."""
    ADMIN = "admin"
    """see and end everybody's sessions, and everything else but their tokens."""
    METRICS = "metrics"
    """read /metrics."""


class Permission(StrEnum):
    """What it takes to be admitted to an operation."""

    PUBLIC = "public"
    """is for everybody: nothing that is anybody's is shown or changed."""
    OWN_PROOF = "own_proof"
    """is for whoever sends what the operation itself judges: the token of an invite, LiveKit's signature."""
    SESSIONS = "sessions"
    SERVICES = "services"
    ADMIN = "admin"
    METRICS = "metrics"
    FRONT_END = "front_end"
    """is for callers with the scope `sessions`, and for users that a caller's own issuer vouches for."""

    @property
    def scope(self) -> Scope | None:
        """What a caller who is not admitted lacks."""
        match self:
            case Permission.PUBLIC | Permission.OWN_PROOF:
                return None
            case Permission.FRONT_END:
                return Scope.SESSIONS
            case _:
                return Scope(self)


class Proof(StrEnum):
    """What an operation judges itself."""

    INVITE = "invite"
    """the token of a service's invite."""
    SIGNATURE = "signature"
    """LiveKit's signature of what it sends."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has proved who he is."""

    name: str
    """Owns what it makes. Two callers never have the same one."""
    scopes: frozenset[Scope] = frozenset()
    identity: str | None = None
    """For a user that a caller's own issuer vouches for: the only participant that he may get tokens for."""
    is_trusted: bool = False
    """Dev mode on loopback: no limits of its own."""
    expires_at: float | None = field(default=None, compare=False)
    """From when on its proof is accepted no more, as an instant of the clock's; None: it does not expire."""

    def may(self, access: Permission) -> bool:
        """Whether it is admitted. What scope `admin` adds in an operation is the operation's own business."""
        if access.scope is None or access.scope in self.scopes:
            return True
        return access is Permission.FRONT_END and self.identity is not None

    def owns(self, owner: str) -> bool:
        return self.name == owner

    def sees(self, owner: str) -> bool:
        """Whether it may see, and end, what `owner` made."""
        return self.owns(owner) or Scope.ADMIN in self.scopes

    def speaks_for(self, owner: str) -> bool:
        """Whether it may replace, remove and renew a service that `owner` registered. One that stands in the
        SERVICES_FILE, or comes from dev mode, is nobody's in particular."""
        return self.sees(owner) or owner in (ANONYMOUS.name, DEVELOPER.name)


ANONYMOUS = Principal("")
"""Has proved nothing, and owns nothing."""
DEVELOPER = Principal("dev", frozenset(Scope), is_trusted=True)
"""Everybody, in dev mode on loopback."""
