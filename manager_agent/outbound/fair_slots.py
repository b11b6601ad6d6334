"""Bounds concurrent work of many owners fairly: in all, for one owner, and for one target of an owner, such as a URL.

Work that waits for a slot holds nothing but a future. A slot that becomes free goes to the waiting owner that holds
the fewest; within an owner its targets take turns. So an owner whose targets all hang delays only itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

Waiting = OrderedDict[str, deque[asyncio.Future[None]]]
"""What waits of one owner, by its target; the target whose turn is next comes first."""


class TooManyWaiting(Exception):
    """So much of this owner waits already that no more may."""


@dataclass(frozen=True, slots=True)
class SlotBounds:
    """How much may run at the same time, and how much of one owner may wait (None: any number)."""

    in_all: int
    per_owner: int
    per_target: int
    waiting_per_owner: int | None = None


class FairSlots:
    def __init__(self, bounds: SlotBounds) -> None:
        self._bounds = bounds
        self._owners: Counter[str] = Counter()
        self._targets: Counter[tuple[str, str]] = Counter()
        self._waiting: dict[str, Waiting] = {}

    @property
    def in_use(self) -> int:
        return self._owners.total()

    @property
    def waiting(self) -> int:
        return sum(len(futures) for targets in self._waiting.values() for futures in targets.values())

    @asynccontextmanager
    async def slot(self, owner: str, target: str, *, waiting_max: int | None = None) -> AsyncIterator[None]:
        """Hold a slot within the block, once one is free. Raises TooManyWaiting."""
        await self.acquire(owner, target, waiting_max=waiting_max)
        try:
            yield
        finally:
            self.release(owner, target)

    async def acquire(self, owner: str, target: str, *, waiting_max: int | None = None) -> None:
        """Take a slot, once one is free, for as long as until `release`. `waiting_max`: how much of this owner may wait
        for this one to wait too, where the bounds say nothing. Raises TooManyWaiting."""
        if self._is_free(owner, target):  # a free slot is given to what waits at once, so nothing waits for this one
            self._take(owner, target)
            return
        targets = self._waiting.get(owner, OrderedDict())
        most = self._bounds.waiting_per_owner if waiting_max is None else waiting_max
        if most is not None and sum(map(len, targets.values())) >= most:
            raise TooManyWaiting(f"{most} are waiting already")
        granted = asyncio.get_running_loop().create_future()
        targets = self._waiting.setdefault(owner, targets)
        targets.setdefault(target, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(owner, target)  # granted at the same moment
            else:
                self._remove(owner, target, granted)
            raise

    def release(self, owner: str, target: str) -> None:
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
        self._targets[owner, target] -= 1
        if not self._targets[owner, target]:
            del self._targets[owner, target]
        self._grant()

    def _is_free(self, owner: str, target: str) -> bool:
        return (
            self.in_use < self._bounds.in_all
            and self._owners[owner] < self._bounds.per_owner
            and self._targets[owner, target] < self._bounds.per_target
        )

    def _take(self, owner: str, target: str) -> None:
        self._owners[owner] += 1
        self._targets[owner, target] += 1

    def _grant(self) -> None:
        """Give every slot that is free to whom it is due."""
        while self.in_use < self._bounds.in_all and (due := self._next()) is not None:
            owner, target = due
            granted = self._waiting[owner][target][0]
            self._remove(owner, target, granted)
            if granted.done():
                continue  # cancelled; its task has not run yet
            self._take(owner, target)
            granted.set_result(None)

    def _next(self) -> tuple[str, str] | None:
        """The owner and target that a free slot is due to; None if nothing that waits may have it."""
        for owner in sorted(self._waiting, key=lambda owner: self._owners[owner]):
            for target in self._waiting[owner]:
                if self._is_free(owner, target):
                    return owner, target
        return None

    def _remove(self, owner: str, target: str, granted: asyncio.Future[None]) -> None:
        """Remove from what waits, unless it was removed already; the target's turn is over."""
        targets = self._waiting.get(owner, OrderedDict())
        if granted not in targets.get(target, ()):
            return
        targets[target].remove(granted)
        if targets[target]:
            targets.move_to_end(target)
        else:
            del targets[target]
        if not targets:
            del self._waiting[owner]
