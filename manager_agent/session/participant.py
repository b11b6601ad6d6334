"""Whether one identity is in the room, as far as anybody told us.

PURE. Webhooks, room events and listings all tell of the same joins and leaves, late, doubled and out of
order. LiveKit gives every join a new participant sid and an instant; these two put the tales in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

REMEMBERED_LEAVES = 16
"""How many sids that have left are remembered. A leave is told late by seconds, not by dozens of joins."""


@dataclass(frozen=True, slots=True)
class Presence:
    """One identity's coming and going. `sid` is the participant that is there now, if any."""

    sid: str | None = None
    joined_ms: int = 0
    """LiveKit's own instant of that join, or of the last one, in milliseconds, 0 when the source did not tell."""
    told_at: float | None = None
    """When we were first told of that join, in seconds since the epoch."""
    gone: tuple[str, ...] = ()
    """Sids known to have left, also ones whose join has not been told yet; newest last."""

    @property
    def here(self) -> bool:
        return self.sid is not None

    def seen(self, sid: str, joined_ms: int, at: float) -> Presence:
        """The participant `sid` was seen in the room. Unchanged when that is no news, or old news."""
        if sid == self.sid or sid in self.gone or 0 < joined_ms < self.joined_ms:
            return self
        gone = self._with_gone(self.sid) if self.sid else self.gone
        return Presence(sid=sid, joined_ms=joined_ms, told_at=at, gone=gone)

    def left(self, sid: str) -> Presence:
        """The participant `sid` has left. Counts only for the very one that is here; remembered for any."""
        if sid in self.gone:
            return self
        gone = self._with_gone(sid)
        return replace(self, sid=None, told_at=None, gone=gone) if sid == self.sid else replace(self, gone=gone)

    def overtaken(self, sid: str, joined_ms: int) -> Presence:
        """The participant `sid` has joined. If it has left already, no earlier participant is here either."""
        if sid not in self.gone or joined_ms <= self.joined_ms:
            return self
        return replace(self.void(), joined_ms=joined_ms)

    def not_listed(self, asked_at: float) -> Presence:
        """A listing asked for at `asked_at` did not show this identity: what was learnt later wins."""
        if self.sid is None or self.told_at is None or self.told_at >= asked_at:
            return self
        return self.left(self.sid)

    def void(self) -> Presence:
        """The identity is no longer here, and no earlier participant of it can come back."""
        return Presence(gone=self._with_gone(self.sid) if self.sid else self.gone)

    def _with_gone(self, sid: str) -> tuple[str, ...]:
        return (*self.gone, sid)[-REMEMBERED_LEAVES:]
