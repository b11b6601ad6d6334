"""Changes that Redis has acknowledged, until the changelog shows them. PURE.

A Redis that fails over may lose the last ones that it has acknowledged. Then the changelog goes on without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manager_agent.records.pending_changes import Place, RecordChange
from manager_agent.redis.entry_ids import Order, order_of

WATCHED_MAX = 10_000
"""Changes. They are shown within milliseconds, unless the changelog can't be read."""


class WrittenChanges:
    def __init__(self, watched_max: int = WATCHED_MAX) -> None:
        self._watched_max = watched_max
        self._watched: dict[Order, RecordChange] = {}
        """By their entries, in order."""
        self._last: dict[Place, Order] = {}
        """The last entry of each record that is watched."""

    def __len__(self) -> int:
        return len(self._watched)

    def of(self, place: Place) -> RecordChange | None:
        """The last one of this record."""
        last = self._last.get(place)
        return None if last is None else self._watched[last]

    def watch(self, entry_ids: Iterable[str], changes: Iterable[RecordChange], position: str) -> None:
        """These were acknowledged. The id of an entry is empty if there is none, as nothing changed. `position`: up to
        here the changelog was read."""
        acknowledged = ((order_of(one), change) for one, change in zip(entry_ids, changes, strict=True) if one)
        added = {order: change for order, change in acknowledged if order > order_of(position)}
        has_gone_back = any(order <= next(reversed(self._watched), (0, 0)) for order in added)
        self._watched |= added
        if has_gone_back:  # as Redis has: what it gave the later ids to is lost
            self._watched = dict(sorted(self._watched.items()))
            added, self._last = self._watched, {}
        self._last |= {change.place: order for order, change in added.items()}
        while len(self._watched) > self._watched_max:
            self._take_first()

    def seen(self, entry_id: str, place: Place) -> Sequence[RecordChange]:
        """The changelog shows this change. Returns those that it should have shown before, of other records: they are
        lost."""
        order, lost = order_of(entry_id), []
        while self._watched and next(iter(self._watched)) <= order:
            earlier, change = self._take_first()
            if earlier != order and change.place != place:
                lost.append(change)
        return lost

    def _take_first(self) -> tuple[Order, RecordChange]:
        order = next(iter(self._watched))
        change = self._watched.pop(order)
        if self._last[change.place] == order:
            del self._last[change.place]
        return order, change

    def take(self) -> Sequence[RecordChange]:
        """All of them, which are no longer watched."""
        taken, self._watched, self._last = list(self._watched.values()), {}, {}
        return taken
