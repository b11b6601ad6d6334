"""The room of a session: the progress of its creation, and what LiveKit's answers say about its end.

PURE. LiveKit's lists of rooms are not always true: a room may be missing for a while, and one of a node that was killed
stays listed. So a room that LiveKit does not know is only missed, until it was missed for some time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from manager_agent.session.events import RoomMissed

ROOM_MISSES_MAX, ROOM_MISSED_FOR = 3, 1.0
"""A room is closed when LiveKit did not know it so many times in a row, the last so many seconds after the first."""
ROOM_DOUBTED_FOR = 30.0
"""The same when LiveKit misses the rooms of several sessions at once: its listing is more likely to be wrong."""


@dataclass(frozen=True, slots=True)
class Room:
    """The LiveKit room and the progress of its creation."""

    requested_at: float | None = None
    sid: str = ""
    created_at: float | None = None
    refused: bool = False
    taken: bool = False
    """A room of this name exists and is not ours. It must not be touched."""
    misses: int = 0
    """Queries in a row for which LiveKit did not know the room, counted up to ROOM_MISSES_MAX."""
    missed_since: float = math.inf
    """When the first of them was sent."""
    missed_at: float = -math.inf
    """When the latest of them was answered."""
    reported_closed: bool = False
    """A webhook reported that it is closed while the manager was in it."""
    silent_since: float | None = None
    """Since when the node that should have the room has not answered."""

    @property
    def in_flight(self) -> bool:
        """LiveKit was asked to create it and has not responded yet."""
        return self.requested_at is not None and self.created_at is None and not self.refused

    @property
    def is_suspected_closed(self) -> bool:
        return self.reported_closed or self.misses > 0

    def missed(self, event: RoomMissed) -> Room:
        """LiveKit did not know the room. Queries that were sent before the previous one was answered count once."""
        if event.asked_at <= self.missed_at:
            return self
        misses = min(self.misses + 1, ROOM_MISSES_MAX)
        since = min(self.missed_since, event.asked_at)
        return replace(self, misses=misses, missed_since=since, missed_at=event.at)

    def listed(self, asked_at: float, is_silent: bool) -> Room:
        """LiveKit knew the room when asked at `asked_at`."""
        if asked_at < self.missed_at:
            return self
        since = (asked_at if self.silent_since is None else self.silent_since) if is_silent else None
        room = replace(self, silent_since=since)
        if not self.is_suspected_closed:
            return room
        return replace(room, misses=0, missed_since=math.inf, reported_closed=False)

    def is_missed_for_good(self, event: RoomMissed) -> bool:
        """Whether LiveKit has not known the room for long enough to believe it."""
        missed_for = ROOM_DOUBTED_FOR if event.is_doubted else ROOM_MISSED_FOR
        return self.misses == ROOM_MISSES_MAX and event.asked_at >= self.missed_since + missed_for
