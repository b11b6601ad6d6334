"""The events that wait to be delivered: one queue for each session, and how much may wait."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Protocol

from manager_agent.outbound.deliveries import Delivery

QUEUE_MAX = 32
"""Events that may wait for one session. Beyond it the oldest is given up: newer ones matter more."""
BYTES_MAX, OWNER_BYTES_MAX = 64 * 1024 * 1024, 16 * 1024 * 1024
"""Bytes that may wait, in all and for one owner. Events beyond them are given up at once."""


class WaitingDelivery(Protocol):
    @property
    def delivery(self) -> Delivery: ...

    @property
    def body(self) -> Sized: ...


@dataclass(slots=True, eq=False)
class QueuedDelivery:
    delivery: Delivery
    body: bytes


@dataclass(slots=True)
class SessionQueue:
    """The undelivered events of one session, in order; the first is under way."""

    deliveries: deque[QueuedDelivery] = field(default_factory=deque)
    is_unwanted: bool = False
    """The receiver answered 410: it wants no further events."""
    is_over: bool = False
    """The session is over, so no further event follows."""
    is_forgotten: bool = False
    """The session is not known any more."""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to deliver or to remember."""
        return bool(self.deliveries) or (self.is_unwanted and not self.is_over)


class WaitingBytes:
    """How much waits, by owner."""

    def __init__(self) -> None:
        self._by_owner: Counter[str] = Counter()

    def has_room_for(self, queued: WaitingDelivery) -> bool:
        size = len(queued.body)
        of_owner = self._by_owner[queued.delivery.owner]
        return of_owner + size <= OWNER_BYTES_MAX and self._by_owner.total() + size <= BYTES_MAX

    def is_exceeded_by(self, owner: str) -> bool:
        """Whether more waits than may, in all or for this owner."""
        return self._by_owner[owner] > OWNER_BYTES_MAX or self._by_owner.total() > BYTES_MAX

    def add(self, queued: WaitingDelivery) -> None:
        self._by_owner[queued.delivery.owner] += len(queued.body)

    def remove(self, queued: WaitingDelivery) -> None:
        owner = queued.delivery.owner
        self._by_owner[owner] -= len(queued.body)
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    def __len__(self) -> int:
        return self._by_owner.total()
