"""Whether one identity is in the room, according to the reports received.

PURE. Webhooks, room events and listings report the same joins and leaves late, repeatedly and out of order. LiveKit
gives every join a new participant sid and an instant, by which the reports are ordered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

REMEMBERED_LEAVES = 16
"""The number of sids remembered after they left. Leaves are reported late by seconds, not by dozens of joins."""


@dataclass(frozen=True, slots=True)
class Presence:
    """The joins and leaves of one identity. `sid` is the participant in the room now, if any."""

    sid: str | None = None
    joined_ms: int = 0
    """LiveKit's instant of this join, or of the last one, in milliseconds; 0 when the source did not report it."""
    reported_at: float | None = None
    """When this join was first reported to us, in seconds since the epoch."""
    gone: tuple[str, ...] = ()
    """Sids known to have left, including any whose join was not reported yet; newest last."""

    @property
    def here(self) -> bool:
        return self.sid is not None

    def seen(self, sid: str, joined_ms: int, at: float) -> Presence:
        """The participant `sid` was seen in the room. Unchanged when that is already known or outdated."""
        if sid == self.sid or sid in self.gone or 0 < joined_ms < self.joined_ms:
            return self
        gone = self._with_gone(self.sid) if self.sid else self.gone
        return Presence(sid=sid, joined_ms=joined_ms, reported_at=at, gone=gone)

    def left(self, sid: str) -> Presence:
        """The participant `sid` has left. Only the current participant's leave changes the presence; all are
        remembered."""
        if sid in self.gone:
            return self
        gone = self._with_gone(sid)
        return replace(self, sid=None, reported_at=None, gone=gone) if sid == self.sid else replace(self, gone=gone)

    def overtaken(self, sid: str, joined_ms: int) -> Presence:
        """The participant `sid` has joined. Even if it has left already, no earlier participant is here any longer."""
        if sid not in self.gone or joined_ms <= self.joined_ms:
            return self
        return replace(self.void(), joined_ms=joined_ms)

    def not_listed(self, asked_at: float) -> Presence:
        """A listing requested at `asked_at` did not show this identity. Later reports take precedence."""
        if self.sid is None or self.reported_at is None or self.reported_at >= asked_at:
            return self
        return self.left(self.sid)

    def void(self) -> Presence:
        """No participant is here any longer, and none of the earlier ones can return."""
        return Presence(gone=self._with_gone(self.sid) if self.sid else self.gone)

    def _with_gone(self, sid: str) -> tuple[str, ...]:
        return (*self.gone, sid)[-REMEMBERED_LEAVES:]


@dataclass(frozen=True, slots=True)
class Trespasser:
    """A participant with a token of another session, whose room had the same name. It is removed."""

    identity: str
    sid: str
    removing: bool = False


@dataclass(frozen=True, slots=True)
class Guest:
    """A human besides the session's user who keeps the session."""

    identity: str
    presence: Presence = Presence()


@dataclass(frozen=True, slots=True)
class StaleParticipant:
    """A service of an earlier attempt, or an earlier manager. If it is found in the room it is removed, because its
    token is still valid."""

    identity: str
    presence: Presence = Presence()
    not_before: float = -math.inf
    """It is not removed before this instant: it may still be waiting for the reply to its last signal."""
    removing: str | None = None
    """The sid of the participant that LiveKit was asked to remove, until it responds."""
    service_id: str | None = None
    attempt: int | None = None
    """The service and the attempt that it belonged to; None for a manager or a surplus agent."""

    @property
    def log_fields(self) -> dict[str, str | int]:
        """The fields of every log entry about it."""
        fields = {"identity": self.identity, "service_id": self.service_id, "attempt": self.attempt}
        return {name: value for name, value in fields.items() if value is not None}
