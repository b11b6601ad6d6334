"""The deliveries of all replicas, as each of them knows them from the records: what waits, and what became of the rest.

    <id of the event>    not finished: the delivery and the body; finished: how, for as long as the log has it
    <id of the session>  its receiver wants no more events of it

A change of a session writes the record of its event in the same step (callback_events.py). That comes back to the
replica that wrote it as to all others, so there is one way in which any of them learns of an event.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Protocol

from manager_agent.drop_oldest import drop_oldest
from manager_agent.outbound.deliveries import Delivery, DeliveryLog
from manager_agent.outbound.delivery_queues import WaitingBytes
from manager_agent.outbound.delivery_records import VALUES, RecordedDelivery, put_change
from manager_agent.records.records import Kind, Record, Records

DELIVERERS_FIRST = 3.0
"""Seconds until other replicas put back what Redis has lost, and the one that delivers it has not put back."""
EXPECTED_MAX = 1_000
"""Events whose records are awaited; usually for milliseconds."""
FINISHED_REMEMBERED = 20_000
"""Events of which it is remembered that they are finished: what was recorded before may be told again."""


class DeliveriesListener(Protocol):
    def delivers(self, session_id: str) -> bool:
        """Whether this replica delivers the events of the session."""

    def heard(self, session_id: str, event_id: str) -> None:
        """Something was recorded about this event, by another replica or with a change of the session."""

    def added(self, event: RecordedDelivery, dropped: Sequence[Delivery]) -> None:
        """An event is new here. `dropped`: deliveries that the log has no more because of it."""


class SharedDeliveries:
    def __init__(self, records: Records) -> None:
        self._records = records
        self.delivery_log = DeliveryLog()
        self.waiting = WaitingBytes()
        """Of all replicas."""
        self._pending: dict[str, dict[str, RecordedDelivery]] = {}
        """By session and event."""
        self._session_of: dict[str, str] = {}
        """The session of each event that is pending."""
        self._unwanted: dict[str, RecordedDelivery] = {}
        self._finished: dict[str, None] = {}
        self._made: dict[str, RecordedDelivery] = {}
        """Events whose records are being written, or would have been, had other changes not been first."""
        self._expected: dict[str, RecordedDelivery] = {}
        """Events whose records are certainly written, and not told yet: Redis may still lose them."""
        self._unsettled: set[str] = set()
        """Events that Redis has lost, which another replica delivers: if it does not know them as pending, none will
        ever tell this replica that they are finished."""
        self._put_back_at = 0.0
        """When this replica puts them back, by the monotonic clock."""
        self._listener: DeliveriesListener | None = None
        records.listen(Kind.DELIVERY, self._told, self._read_anew)

    def listen(self, listener: DeliveriesListener) -> None:
        self._listener = listener

    # --- reads --------------------------------------------------------------------------------------

    @property
    def sessions(self) -> Sequence[str]:
        """Those with events that are pending."""
        return list(self._pending)

    def pending(self, session_id: str) -> Sequence[RecordedDelivery]:
        """In the order in which they are delivered."""
        return sorted(self._pending.get(session_id, {}).values(), key=lambda kept: kept.delivery.revision)

    def count(self, session_id: str) -> int:
        """How many are pending."""
        return len(self._pending.get(session_id, ()))

    def find(self, session_id: str, event_id: str) -> RecordedDelivery | None:
        """None: it is not pending."""
        return self._pending.get(session_id, {}).get(event_id)

    def expected(self, session_id: str) -> Sequence[RecordedDelivery]:
        """Events of the session that are recorded, and that no replica was told of yet."""
        return [event for event in self._expected.values() if event.delivery.session_id == session_id]

    def is_known(self, event_id: str, owner: str) -> bool:
        """Whether the event was told to this owner, or will be, as far as is remembered."""
        is_told = event_id in self._finished or self.delivery_log.find(owner, event_id) is not None
        return is_told or event_id in self._session_of

    def is_unwanted(self, session_id: str) -> bool:
        """Whether the receiver wants no more events of the session."""
        return session_id in self._unwanted

    # --- what this replica does ---------------------------------------------------------------------

    def made(self, event: RecordedDelivery) -> None:
        """An event is about to be recorded with its change."""
        _put_bounded(self._made, event)

    def expect(self, event_id: str) -> None:
        """The change of this event is made."""
        event = self._made.pop(event_id, None)
        if event is not None and not self.is_known(event_id, event.delivery.owner):
            _put_bounded(self._expected, event)

    def show(self, delivery: Delivery) -> None:
        """How a delivery is, for this replica only."""
        if (kept := self.find(delivery.session_id, delivery.id)) is not None:
            self._pending[delivery.session_id][delivery.id] = replace(kept, delivery=delivery)
        self.delivery_log.update(delivery)

    def record(self, delivery: Delivery) -> None:
        """How a delivery is that is not finished, for all replicas."""
        self.show(delivery)
        if (kept := self.find(delivery.session_id, delivery.id)) is not None:
            self._put(kept)

    def assign(self, session_id: str, replica_id: str) -> None:
        """This replica delivers the events, as the session is not known any more."""
        for event_id, kept in self._pending.get(session_id, {}).items():
            self._pending[session_id][event_id] = assigned = replace(kept, replica=replica_id)
            self._put(assigned)

    def begin_anew(self, session_id: str) -> None:
        """The events have all the time for retries from now on."""
        for kept in self.pending(session_id):
            self.show(kept.delivery.begun_anew())

    def finish(self, delivery: Delivery) -> None:
        """It is not tried again."""
        self._end(delivery)
        self._record_end(delivery)

    def _record_end(self, delivery: Delivery) -> None:
        ended = self.delivery_log.find(delivery.owner, delivery.id)
        if ended is None or ended.finished_at is None:
            self._records.delete(Kind.DELIVERY, delivery.id)
        else:
            self._put(RecordedDelivery(ended))

    def refuse_more(self, delivery: Delivery) -> None:
        """The receiver wants no more events of this session, which is known."""
        self._unwanted[delivery.session_id] = kept = RecordedDelivery(replace(delivery, url=""))
        self._put(kept, delivery.session_id)

    def forget(self, deliveries: Sequence[Delivery]) -> None:
        """Those that the log has no more."""
        for delivery in deliveries:
            if delivery.finished_at is not None:
                self._records.delete(Kind.DELIVERY, delivery.id)

    def _put(self, kept: RecordedDelivery, key: str = "") -> None:
        change = put_change(kept, key)
        assert change.record is not None, "it is put"
        self._records.put(change.kind, change.key, change.record.value, change.record.expires_at)

    # --- what is recorded ---------------------------------------------------------------------------

    def _told(self, record: Record | None, key: str) -> None:
        self._unsettled.discard(key)
        if record is None:
            self._deleted(key)
        elif (kept := VALUES.read([record]).get(key)) is not None:
            session_id = kept.delivery.session_id
            if key == session_id:
                self._unwanted[session_id] = kept
            elif kept.delivery.finished_at is not None:
                self._end(kept.delivery)
            elif key not in self._finished:
                self._keep(kept)
            elif self._delivers(session_id):  # recorded by a replica that did not know that it is finished
                self._record_end(kept.delivery)
            self._heard(session_id, key)

    def _deleted(self, key: str) -> None:
        self._unwanted.pop(key, None)
        session_id = self._session_of.get(key)
        if session_id is not None:
            self._take_out(key)
            self._heard(session_id, key)

    def _keep(self, kept: RecordedDelivery) -> None:
        delivery, is_new = kept.delivery, kept.delivery.id not in self._session_of
        self._expected.pop(delivery.id, None)
        self._take_out(delivery.id)
        self._finished.pop(delivery.id, None)
        self._pending.setdefault(delivery.session_id, {})[delivery.id] = kept
        self._session_of[delivery.id] = delivery.session_id
        self.waiting.add(kept)
        if not is_new:
            self.delivery_log.update(delivery)
        else:
            dropped = self.delivery_log.add(delivery)
            if self._listener is not None:
                self._listener.added(kept, dropped)

    def _end(self, delivery: Delivery) -> None:
        self._expected.pop(delivery.id, None)
        self._take_out(delivery.id)
        if self.delivery_log.find(delivery.owner, delivery.id) is not None:
            self.delivery_log.update(delivery)
        elif delivery.id not in self._finished:
            self.delivery_log.add(delivery)
        self._remember(delivery.id)

    def _take_out(self, event_id: str) -> None:
        """It is not pending any more."""
        session_id = self._session_of.pop(event_id, None)
        if session_id is None:
            return
        events = self._pending[session_id]
        self.waiting.remove(events.pop(event_id))
        if not events:
            del self._pending[session_id]
        self._remember(event_id)

    def _remember(self, event_id: str) -> None:
        self._finished[event_id] = None
        drop_oldest(self._finished, FINISHED_REMEMBERED)

    def _heard(self, session_id: str, event_id: str) -> None:
        if self._listener is not None:
            self._listener.heard(session_id, event_id)

    def _read_anew(self, keys: Set[str], are_lost: bool) -> None:
        """Those of `keys` were told. The others were deleted; or lost, then who delivers them puts them back."""
        missing = [event_id for event_id in self._session_of if event_id not in keys]
        expected, self._expected, self._unsettled = self._expected, {}, set()
        if not are_lost:
            for key in [*missing, *(self._unwanted.keys() - keys)]:
                self._deleted(key)
            return
        for kept in self._lost(keys):
            self._put(kept, "" if kept.body or kept.delivery.url else kept.delivery.session_id)
        for event in expected.values():
            self._put(event)
            self._keep(event)
            self._heard(event.delivery.session_id, event.delivery.id)
        self._unsettled = {event_id for event_id in missing if not self._delivers(self._session_of[event_id])}
        self._put_back_at = time.monotonic() + DELIVERERS_FIRST

    def put_back_the_rest(self) -> None:
        """Call it again and again: put back what those who deliver it have not. If it is finished, they say so."""
        if not self._unsettled or time.monotonic() < self._put_back_at:
            return
        for event_id in self._unsettled & self._session_of.keys():
            self._put(self._pending[self._session_of[event_id]][event_id])
        self._unsettled = set()

    def _lost(self, keys: Set[str]) -> Iterator[RecordedDelivery]:
        """Those that this replica puts back."""
        for session_id, kept in self._unwanted.items():
            if session_id not in keys and self._delivers(session_id):
                yield kept
        for event_id, session_id in self._session_of.items():
            if event_id not in keys and self._delivers(session_id):
                yield self._pending[session_id][event_id]
        for delivery in self.delivery_log.latest(lambda _: True):
            if delivery.finished_at and delivery.id not in keys and self._delivers(delivery.session_id):
                yield RecordedDelivery(delivery)

    def _delivers(self, session_id: str) -> bool:
        return self._listener is not None and self._listener.delivers(session_id)


def _put_bounded(events: dict[str, RecordedDelivery], event: RecordedDelivery) -> None:
    events[event.delivery.id] = event
    drop_oldest(events, EXPECTED_MAX)
