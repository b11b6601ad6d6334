"""A lock for containers of log entries that logging never blocks on.

A thread that logs holds the lock of the log handler. A thread that holds this lock may also log, when the garbage
collector runs a finalizer at that moment. If each waited for the other's lock, they would deadlock. Therefore an item
that is put while the lock is taken goes into a queue, which the next holder of the lock processes.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnwaitedLock(Generic[Item, Result]):
    """As a context manager it is an ordinary lock, for all operations except `put`."""

    def __init__(self, take_in: Callable[[Item], Result]) -> None:
        """`take_in` is called with each item, under the lock."""
        self._take_in = take_in
        self._lock = RLock()  # reentrant, because such a finalizer may run in the thread that holds the lock
        self._queued: SimpleQueue[Item] = SimpleQueue()
        """Its put() is reentrant and never blocks."""

    def put(self, item: Item) -> Result | None:
        """The result of `take_in`; None when the item was queued for the next holder of the lock."""
        if not self._lock.acquire(blocking=False):
            self._queued.put(item)
            return None
        try:
            self._take_in_queued()
            return self._take_in(item)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._take_in_queued()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _take_in_queued(self) -> None:
        while True:
            try:
                item = self._queued.get_nowait()
            except Empty:
                return
            self._take_in(item)
