"""A lock around what log entries are put into, for which nobody who logs ever waits.

Whoever logs holds the lock of the log's handler. Whoever holds a lock of ours may be made to log, in the middle of it,
by a finalizer that the garbage collector runs there. If each waited for the other, both would for ever. So an item that
is put while the lock is taken is left beside it, for whoever has the lock next.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import RLock
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Told = TypeVar("Told")


class UnwaitedLock(Generic[Item, Told]):
    """As a context manager, an ordinary lock, for everything but putting in."""

    def __init__(self, take_in: Callable[[Item], Told]) -> None:
        """`take_in` is given each item, under the lock."""
        self._take_in = take_in
        self._lock = RLock()  # reentrant, as what is put in by such a finalizer may be put in right here
        self._left: SimpleQueue[Item] = SimpleQueue()
        """Its put() may be interrupted by another one anywhere, and never waits."""

    def put(self, item: Item) -> Told | None:
        """What `take_in` says of it; None when it was left for whoever has the lock next."""
        if not self._lock.acquire(blocking=False):
            self._left.put(item)
            return None
        try:
            self._take_in_what_was_left()
            return self._take_in(item)
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._take_in_what_was_left()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _take_in_what_was_left(self) -> None:
        while True:
            try:
                item = self._left.get_nowait()
            except Empty:
                return
            self._take_in(item)
