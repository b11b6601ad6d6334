"""Keeps callbacks over a restart, by the records: those not finished, and the last finished one of each session.

An event is recorded here, and the state that it reports in the room. If the process is killed when only the event is
recorded, the next one drops it: the state was never shown. If only the state is recorded, it makes the event again.

    <id of the event>    not finished: the delivery and the body
    <id of the session>  the last finished delivery: the state that it reports need not be told after a restart
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from manager_agent.outbound.deliveries import Delivery
from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record, Records
from manager_agent.records.values import ModelJson, Values
from manager_agent.shifted_instants import shifted

KEPT_FOR = 7 * 86_400.0
"""Seconds after an event until it is forgotten, if no process runs, or its session goes on for longer: it is told again
then."""


@dataclass(frozen=True, slots=True)
class RecordedDelivery:
    delivery: Delivery
    body: str = ""
    """Empty when finished."""
    replica: str = ""
    """The replica that delivers it, as its session is not known any more; empty: the one that owns the session."""


@dataclass(frozen=True, slots=True)
class LeftDeliveries:
    """What an earlier process left of one session."""

    pending: Sequence[RecordedDelivery]
    """In order. The receivers may have got them."""
    last: Delivery | None
    """The last one that was finished."""


VALUES = Values(Kind.DELIVERY, 1, ModelJson(RecordedDelivery), shift=shifted)


def put_change(kept: RecordedDelivery, key: str = "") -> RecordChange:
    """Records it, by the id of its event or by `key`."""
    key, expires_at = key or kept.delivery.id, kept.delivery.created_at + KEPT_FOR
    return RecordChange(Kind.DELIVERY, key, Record(Kind.DELIVERY, key, VALUES.write(kept), expires_at))


class DeliveryRecords:
    def __init__(self, records: Records) -> None:
        self._records, self._is_loaded = records, False
        self._pending: dict[str, list[RecordedDelivery]] = {}
        """Those that an earlier process left, until they are taken; by session."""
        self._last: dict[str, Delivery] = {}
        self._new: set[str] = set()
        """The sessions of this process that had events before those of the earlier one were loaded."""

    @property
    def left(self) -> int:
        """Deliveries of an earlier process that are not taken yet."""
        return sum(map(len, self._pending.values()))

    async def load(self) -> None:
        """Call it once, when the earlier process writes no more, and before its sessions are known."""
        for kept in VALUES.read(await self._records.load(Kind.DELIVERY)).values():
            delivery = kept.delivery
            if delivery.session_id in self._new:
                continue
            if delivery.finished_at is None:
                anew = replace(kept, delivery=delivery.begun_anew())
                self._pending.setdefault(delivery.session_id, []).append(anew)
            else:
                self._last[delivery.session_id] = delivery
        self._is_loaded = True
        self._new.clear()

    def take(self, session_id: str, recorded_revision: int) -> LeftDeliveries:
        """What is left of this session, whose latest recorded state began with this revision. Drops events that its
        receiver does not want, and events of states that were not recorded."""
        pending, last = self._pending.pop(session_id, []), self._last.pop(session_id, None)
        is_unwanted = last is not None and last.is_unwanted
        due = [kept for kept in pending if kept.delivery.revision <= recorded_revision and not is_unwanted]
        for kept in pending:
            if kept not in due:
                self._records.delete(Kind.DELIVERY, kept.delivery.id)
        return LeftDeliveries(due, last)

    def take_rest(self) -> Sequence[RecordedDelivery]:
        """What is left of the sessions that are not known any more."""
        for session_id in self._last:
            self._records.delete(Kind.DELIVERY, session_id)
        rest = [kept for pending in self._pending.values() for kept in pending]
        self._last, self._pending = {}, {}
        return rest

    def keep(self, delivery: Delivery, body: bytes) -> None:
        if not self._is_loaded:
            self._new.add(delivery.session_id)
        value = VALUES.write(RecordedDelivery(delivery, body.decode()))
        self._records.put(Kind.DELIVERY, delivery.id, value, expires_at=delivery.created_at + KEPT_FOR)

    def finish(self, delivery: Delivery, *, is_last: bool) -> None:
        """`is_last`: whether the session is known, and this is what a restart must know of it."""
        if is_last:
            value = VALUES.write(RecordedDelivery(replace(delivery, url="")))
            expires_at = delivery.created_at + KEPT_FOR
            self._records.put(Kind.DELIVERY, delivery.session_id, value, expires_at=expires_at)
        self._records.delete(Kind.DELIVERY, delivery.id)

    def forget(self, session_id: str) -> None:
        """The session is not known any more."""
        self._records.delete(Kind.DELIVERY, session_id)
