"""Changes of this replica that crossed one of another replica: that was told here after ours was made, and before the
changelog showed ours. PURE.

What a replica changes itself it knows, and is not told. But where changes cross, what it knows since is not what is
stored: ours may have been written last. So it is told of ours too then, as all others are.
"""

from __future__ import annotations

from collections.abc import Callable

from manager_agent.drop_oldest import drop_oldest
from manager_agent.records.pending_changes import Place, RecordChange
from manager_agent.records.records import Record

CROSSED_MAX = 10_000
"""Records. They cross for milliseconds, unless Redis is away."""


class CrossedChanges:
    def __init__(self, under_way: Callable[[Place], RecordChange | None]) -> None:
        """`under_way`: the last change of a record by this replica that the changelog has not shown yet."""
        self._under_way = under_way
        self._crossed: dict[Place, None] = {}

    def told(self, place: Place) -> None:
        """What another replica has changed there was told."""
        if self._under_way(place) is not None:
            self._crossed[place] = None
        else:
            self._crossed.pop(place, None)
        drop_oldest(self._crossed, CROSSED_MAX)

    def shown(self, place: Place, record: Record | None) -> bool:
        """The changelog shows a change of this replica. Returns whether it is to be told: not if a later one of this
        replica follows, which is told instead."""
        if place not in self._crossed:
            return False
        last = self._under_way(place)
        if last is not None and last.record != record:
            return False
        del self._crossed[place]
        return True
