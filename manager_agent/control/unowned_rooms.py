"""The rooms of this deployment that no session owns, and when to try to delete each.

LiveKit may fail to delete a room again and again, such as one whose node was killed while no other node runs
(livekit#3766), so the pauses between the tries grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manager_agent.backoff import doubling
from manager_agent.livekit.listed_room import ListedRoom

PAUSE, PAUSE_MAX = 15.0, 3_600.0
"""Seconds from one try to delete a room to the next. Doubles with every try, up to the maximum."""
UNDELETABLE_TRIES = 3
"""A room that is still listed after so many tries counts as one that can't be deleted."""
AT_ONCE = 20
"""The most rooms to delete at a time. After a restart there may be hundreds."""


@dataclass(slots=True)
class _Tries:
    count: int = 0
    next_at: float = 0.0


class UnownedRooms:
    def __init__(self) -> None:
        self._tries: dict[str, _Tries] = {}
        """By sid, of the rooms in the latest listing."""

    @property
    def undeletable(self) -> int:
        return sum(tries.count >= UNDELETABLE_TRIES for tries in self._tries.values())

    def due(self, listed: Sequence[ListedRoom], now: float) -> list[tuple[ListedRoom, int]]:
        """The rooms to delete now, each with the number of the try. `listed` are all unowned rooms of a new listing. A
        room is not deleted when it is first listed: its session may be about to own it."""
        earlier, self._tries = self._tries, {}
        due: list[tuple[ListedRoom, int]] = []
        for room in listed:
            tries = earlier.get(room.sid)
            self._tries[room.sid] = tries or _Tries()
            if tries is None or now < tries.next_at or len(due) == AT_ONCE:
                continue
            tries.count += 1
            tries.next_at = now + doubling(tries.count, first=PAUSE, most=PAUSE_MAX)
            due.append((room, tries.count))
        return due
