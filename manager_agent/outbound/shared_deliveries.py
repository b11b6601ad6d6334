"""The callbacks of all replicas that are not finished, as this replica knows them from the records.

They are recorded in the form of delivery_records.py, in the same step as the change that they tell of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from manager_agent.outbound.deliveries import Delivery
from manager_agent.outbound.delivery_records import KEPT_FOR, VALUES, RecordedDelivery
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record, Records

FINISHED_KEPT = 10_000


class SharedDeliveries:
    def __init__(self, records: Records, is_pending: Callable[[RecordedDelivery], None]) -> None:
        """`is_pending`: told of each delivery of other replicas that is not finished."""
        self._records, self._is_pending = records, is_pending
        self._pending: dict[str, dict[str, RecordedDelivery]] = {}
        """By session and id."""
        self._last: dict[str, Delivery] = {}
        """The last finished delivery of each session."""
        self._finished: dict[str, None] = {}
        """The ids of deliveries that this replica finished lately: their records may be read once more."""
        records.listen(Kind.DELIVERY, self._recorded, self._read_anew)

    def __len__(self) -> int:
        return sum(map(len, self._pending.values()))

    @property
    def session_ids(self) -> Sequence[str]:
        """The sessions with deliveries that are not finished."""
        return list(self._pending)

    def pending_of(self, session_id: str) -> Sequence[RecordedDelivery]:
        """In the order of their events."""
        return sorted(self._pending.get(session_id, {}).values(), key=lambda kept: kept.delivery.revision)

    def told(self, session_id: str) -> int:
        """The revision of the latest state that has an event, as far as is known. The first state is none."""
        last = self._last.get(session_id)
        pending = (kept.delivery.revision for kept in self.pending_of(session_id))
        return max((1 if last is None else last.revision, *pending))

    def is_unwanted(self, session_id: str) -> bool:
        """Whether the receiver wants no further events of this session."""
        last = self._last.get(session_id)
        return last is not None and last.is_unwanted

    def change_of(self, kept: RecordedDelivery) -> RecordChange:
        """What records a new delivery."""
        return _change_of(kept.delivery.id, kept)

    def keep(self, kept: RecordedDelivery) -> None:
        """A delivery is recorded."""
        self._pending.setdefault(kept.delivery.session_id, {})[kept.delivery.id] = kept

    def finish(self, delivery: Delivery, is_last: bool) -> None:
        """`is_last`: whether the session is known, and this is what a later owner must know of it."""
        self._drop(delivery.session_id, delivery.id)
        self._finished[delivery.id] = None
        while len(self._finished) > FINISHED_KEPT:
            del self._finished[next(iter(self._finished))]
        if is_last:
            self._last[delivery.session_id] = last = replace(delivery, url="")
            self._put(_change_of(delivery.session_id, RecordedDelivery(last)))
        self._records.delete(Kind.DELIVERY, delivery.id)

    def session_removed(self, session_id: str, *, is_own: bool) -> None:
        """`is_own`: whether this replica has removed it."""
        if self._last.pop(session_id, None) is not None and is_own:
            self._records.delete(Kind.DELIVERY, session_id)

    def _put(self, change: RecordChange) -> None:
        assert change.record is not None
        self._records.put(change.kind, change.key, change.record.value, expires_at=change.record.expires_at)

    def _recorded(self, record: Record | None, key: str) -> None:
        """Another replica has changed this record, or it was read anew."""
        if record is None:
            self._deleted(key)
            return
        for kept in VALUES.read([record]).values():
            delivery = kept.delivery
            if delivery.finished_at is not None:
                self._last[delivery.session_id] = delivery
            elif delivery.id in self._finished:
                self._records.delete(Kind.DELIVERY, delivery.id)
            else:
                self.keep(replace(kept, delivery=delivery.begun_anew()))
                self._is_pending(kept)

    def _deleted(self, key: str) -> None:
        if self._last.pop(key, None) is None:
            for session_id in [one for one, kept in self._pending.items() if key in kept]:
                self._drop(session_id, key)

    def _read_anew(self, keys: Set[str], are_lost: bool) -> None:
        """Forget what is not recorded any more, or record it again if Redis has lost it."""
        for session_id in self.session_ids:
            for kept in self.pending_of(session_id):
                if kept.delivery.id in keys:
                    continue
                if are_lost:
                    self._put(self.change_of(kept))
                else:
                    self._drop(session_id, kept.delivery.id)
        for session_id in [one for one in self._last if one not in keys]:
            if are_lost:
                self._put(_change_of(session_id, RecordedDelivery(self._last[session_id])))
            else:
                del self._last[session_id]

    def _drop(self, session_id: str, delivery_id: str) -> None:
        kept = self._pending.get(session_id, {})
        kept.pop(delivery_id, None)
        if not kept:
            self._pending.pop(session_id, None)


def _change_of(key: str, kept: RecordedDelivery) -> RecordChange:
    record = Record(Kind.DELIVERY, key, VALUES.write(kept), kept.delivery.created_at + KEPT_FOR)
    return RecordChange(Kind.DELIVERY, key, record)
