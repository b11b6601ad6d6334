"""The events that wait to be delivered: one queue for each session, and how much may wait."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from manager_agent.outbound.deliveries import Delivery

QUEUE_MAX = 32
"""Events that may wait for one session. Beyond it the oldest is given up: newer ones matter more."""
BYTES_MAX, OWNER_BYTES_MAX = 64 * 1024 * 1024, 16 * 1024 * 1024
"""Bytes that may wait, in all and for one owner. Events beyond them are given up at once."""


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
    task: asyncio.Task[None] | None = None
    """That delivers them."""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to deliver or to remember."""
        return bool(self.deliveries) or (self.is_unwanted and not self.is_over)


class WaitingBytes:
    """How much waits, by owner."""

    def __init__(self) -> None:
        self._by_owner: Counter[str] = Counter()

    def has_room_for(self, queued: QueuedDelivery) -> bool:
        size = len(queued.body)
        of_owner = self._by_owner[queued.delivery.owner]
        return of_owner + size <= OWNER_BYTES_MAX and self._by_owner.total() + size <= BYTES_MAX

    def add(self, queued: QueuedDelivery) -> None:
        self._by_owner[queued.delivery.owner] += len(queued.body)

    def remove(self, queued: QueuedDelivery) -> None:
        owner = queued.delivery.owner
        self._by_owner[owner] -= len(queued.body)
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    def __len__(self) -> int:
        return self._by_owner.total()
