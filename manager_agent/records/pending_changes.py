"""Changes of records that are not written yet, in order and bounded.

PURE. Of several changes of one record only the result is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from manager_agent.records.records import Kind, Record

CHANGES_MAX = 50_000
BYTES_MAX = 64 * 1024 * 1024
GROUP_MAX, GROUP_BYTES_MAX = 200, 1024 * 1024
"""Changes that are written by one script, which no other client of Redis interrupts."""

Place = tuple[Kind, str]
"""Kind and key of a record."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    kind: Kind
    key: str
    record: Record | None
    """None: it is deleted."""
    is_anew: bool = False
    """It was deleted before it was put, so that it comes last."""

    @property
    def place(self) -> Place:
        return self.kind, self.key

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.key) + (0 if self.record is None else len(self.record.value))


class PendingChanges:
    """Beyond the bounds the oldest changes are given up."""

    def __init__(self, *, changes_max: int = CHANGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._changes_max, self._bytes_max = changes_max, bytes_max
        self._changes: dict[Place, RecordChange] = {}
        self._bytes = 0
        self.lost = 0
        """Changes that were given up."""

    def __len__(self) -> int:
        return len(self._changes)

    def places(self) -> set[Place]:
        return set(self._changes)

    def of(self, place: Place) -> RecordChange | None:
        return self._changes.get(place)

    def add(self, change: RecordChange) -> None:
        place = change.place
        before = self._changes.get(place)
        if before is not None:
            self._bytes -= before.size
            if change.record is None or before.record is None or change.is_anew:
                del self._changes[place]
                change = replace(change, is_anew=change.record is not None)
            else:
                change = replace(change, is_anew=before.is_anew)
        self._changes[place] = change
        self._bytes += change.size
        while len(self._changes) > self._changes_max or self._bytes > self._bytes_max:
            self._bytes -= self._changes.pop(next(iter(self._changes))).size
            self.lost += 1

    def take(self) -> Sequence[RecordChange]:
        """All of them, which are no longer pending."""
        taken, self._changes, self._bytes = list(self._changes.values()), {}, 0
        return taken

    def give_back(self, taken: Iterable[RecordChange]) -> None:
        """Those that were taken and could not be written: they come before those added since."""
        later = self.take()
        for change in (*taken, *later):
            self.add(change)


def groups_of(changes: Iterable[RecordChange], *, deletions_first: bool = False) -> Sequence[Sequence[RecordChange]]:
    """The changes in order, in groups within the bounds. A single change may be greater. `deletions_first`: and in
    groups of their own."""
    if not deletions_first:
        return list(_in_groups(changes))
    parts: tuple[list[RecordChange], list[RecordChange]] = [], []
    for change in changes:
        parts[change.record is not None].append(change)
    return [group for part in parts for group in _in_groups(part)]


def _in_groups(changes: Iterable[RecordChange]) -> Iterator[Sequence[RecordChange]]:
    group: list[RecordChange] = []
    size = 0
    for change in changes:
        if group and (len(group) >= GROUP_MAX or size + change.size > GROUP_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(change)
        size += change.size
    if group:
        yield group
