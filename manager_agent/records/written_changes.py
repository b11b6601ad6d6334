"""Changes that Redis has acknowledged, until the changelog shows them. PURE.

A Redis that fails over may lose the last ones that it has acknowledged. Then the changelog goes on without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manager_agent.records.pending_changes import Place, RecordChange
from manager_agent.redis.entry_ids import order_of

WATCHED_MAX = 10_000
"""Changes. They are shown within milliseconds, unless the changelog can't be read."""


class WrittenChanges:
    def __init__(self, watched_max: int = WATCHED_MAX) -> None:
        self._watched_max = watched_max
        self._watched: dict[tuple[int, int], RecordChange] = {}
        """By their entries, in order."""

    def __len__(self) -> int:
        return len(self._watched)

    def of(self, place: Place) -> RecordChange | None:
        """The last one of this record."""
        return next((change for change in reversed(self._watched.values()) if change.place == place), None)

    def watch(self, entry_ids: Iterable[str], changes: Iterable[RecordChange], position: str) -> None:
        """These were acknowledged. The id of an entry is empty if there is none, as nothing changed. `position`: up to
        here the changelog was read."""
        for entry_id, change in zip(entry_ids, changes, strict=True):
            if entry_id and order_of(entry_id) > order_of(position):
                self._watched[order_of(entry_id)] = change
        while len(self._watched) > self._watched_max:
            del self._watched[next(iter(self._watched))]

    def seen(self, entry_id: str, place: Place) -> Sequence[RecordChange]:
        """The changelog shows this change. Returns those that it should have shown before, of other records: they are
        lost."""
        order = order_of(entry_id)
        earlier = {one: change for one, change in self._watched.items() if one <= order}
        for one in earlier:
            del self._watched[one]
        earlier.pop(order, None)
        return [change for change in earlier.values() if change.place != place]

    def take(self) -> Sequence[RecordChange]:
        """All of them, which are no longer watched."""
        taken, self._watched = list(self._watched.values()), {}
        return taken
