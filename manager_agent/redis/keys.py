"""The names of all keys in Redis. PURE.

Every key of a deployment has the same hash tag, so that a cluster keeps all of them in one slot, and one script may
change several of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEPLOYMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Keys:
    deployment: str

    def __post_init__(self) -> None:
        if not DEPLOYMENT.fullmatch(self.deployment):
            raise ValueError("must be 1 to 63 letters, digits, dots, hyphens and underscores")

    def of(self, *parts: str) -> str:
        return ":".join((f"sm:{{{self.deployment}}}", *parts))

    @property
    def epoch(self) -> str:
        """string: a random word. Another one, or none, means that Redis lost what it had."""
        return self.of("epoch")

    @property
    def changes(self) -> str:
        """stream: all changes, in order."""
        return self.of("changes")

    @property
    def sessions(self) -> str:
        """sorted set: ids of sessions by created_at."""
        return self.of("sessions")

    def session(self, session_id: str) -> str:
        """hash: b = the session, v = its version, w = the write that made it, o = owner, f = fence, n = the name of its
        room, c = the counters that it is counted in."""
        return self.of("session", session_id)

    def room_name(self, name: str) -> str:
        """string: the id of the session that has the room of this name."""
        return self.of("name", name)

    @property
    def counters(self) -> str:
        """hash: what capacity and quotas are counted in."""
        return self.of("counters")

    def records(self, kind: str) -> str:
        """hash: key -> value."""
        return self.of("records", kind)

    def record_expiries(self, kind: str) -> str:
        """sorted set: keys of records by the instant at which they expire."""
        return self.of("expiries", kind)

    @property
    def replicas(self) -> str:
        """hash: id of a replica -> what it tells about itself."""
        return self.of("replicas")

    @property
    def leases(self) -> str:
        """sorted set: ids of replicas by the instant at which their leases end."""
        return self.of("leases")

    @property
    def leader(self) -> str:
        """hash: id = the replica that reconciles; grace, heard = instants (lua/liveness.lua)."""
        return self.of("leader")

    def claim(self, name: str) -> str:
        """string that expires: a claim of one replica, as on an Idempotency-Key."""
        return self.of("claim", name)

    def rate(self, name: str) -> str:
        """string that expires: the state of a rate limit."""
        return self.of("rate", name)
