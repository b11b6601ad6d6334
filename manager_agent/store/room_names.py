"""Room names reserved by tokens: a token for a name opens any room that has it.

The reservations outlive their sessions. Each ends with its last token, so there are never more than sessions that got
tokens within the life of a token; `count` lets the API refuse more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

LEEWAY = 60.0
"""Seconds for which LiveKit accepts a token after its expiry (livekit/protocol, auth/verifier.go)."""
SWEPT_FROM = 1_000
"""Names from which expired reservations are looked for, at every doubling."""


@dataclass(slots=True)
class _Reservation:
    owner: str
    until: float
    """When the last token expires."""
    unrecognized_until: float = 0.0
    """When the last token expires whose holder can hide which session it belongs to."""
    sessions: dict[str, float] = field(default_factory=dict)
    """The sessions that gave out tokens, each with the expiry of its last one."""


class RoomNames:
    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        """`wall_clock`: the time that LiveKit compares tokens with."""
        self._clock = wall_clock
        self._by_name: dict[str, _Reservation] = {}
        self._sweep_at = SWEPT_FROM

    @property
    def count(self) -> int:
        """Reserved names, and some whose reservation has just ended."""
        return len(self._by_name)

    def issued(self, room_name: str, session_id: str, owner: str, expires_at: float, *, is_recognized: bool) -> None:
        """A token for this room was given out. `is_recognized`: whether its holder is seen to belong to the session
        (messages.py, SESSION_ATTRIBUTE) as long as it is in a room."""
        self._sweep()
        kept = self._by_name.get(room_name)
        if kept is None or kept.owner != owner:
            kept = self._by_name[room_name] = _Reservation(owner, expires_at)
        kept.until = max(kept.until, expires_at)
        kept.sessions = {one: until for one, until in kept.sessions.items() if until + LEEWAY > self._clock()}
        kept.sessions[session_id] = max(kept.sessions.get(session_id, expires_at), expires_at)
        if not is_recognized:
            kept.unrecognized_until = max(kept.unrecognized_until, expires_at)

    def reserved_for(self, room_name: str, owner: str) -> float:
        """Seconds until this caller may have the name; 0 if now.

        The owner of the reservation need not wait: a participant with a token of another session is removed. A token
        whose holder can't be recognized is waited for, as long as LiveKit accepts it.
        """
        kept = self._by_name.get(room_name)
        if kept is None:
            return 0.0
        unrecognized = kept.unrecognized_until + LEEWAY
        return max(0.0, (unrecognized if kept.owner == owner else max(kept.until, unrecognized)) - self._clock())

    def may_enter(self, room_name: str, session_id: str) -> bool:
        """Whether a token of this session can still open a room of this name."""
        kept = self._by_name.get(room_name)
        return kept is not None and kept.sessions.get(session_id, 0.0) + LEEWAY > self._clock()

    def is_reserved(self, room_name: str) -> bool:
        """Whether any token can still open a room of this name."""
        kept = self._by_name.get(room_name)
        return kept is not None and kept.until + LEEWAY > self._clock()

    def _sweep(self) -> None:
        if len(self._by_name) >= self._sweep_at:
            self._by_name = {name: kept for name, kept in self._by_name.items() if self.is_reserved(name)}
            self._sweep_at = max(SWEPT_FROM, 2 * len(self._by_name))
