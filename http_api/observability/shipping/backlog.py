"""What is still to be shipped: the newest records, within bounds, and what became of all others.

Anybody may put a record in, in any thread, at any moment: that takes no I/O, and nothing is ever waited for. One thread
alone takes batches out, and says of each what has become of it before it takes the next.

A batch stays where it is while it is under way, so its records count, and are the first to go when there are too many.
It is known by where it ends; where it begins may have moved by the time it is sent again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice

from http_api.observability.logs.unwaited import UnwaitedLock
from http_api.observability.shipping.batch import Batch, Bounds, Dropped, Stats


class Backlog:
    def __init__(self, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds, self._clock = bounds or Bounds(), clock
        self._lock = UnwaitedLock(self._add)
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._first = 0
        """The number of the oldest record that is here; they are numbered as they come."""
        self._ends: list[int] = []
        """Of the batches that were begun, the next one last. More than one after a refusal."""
        self._sent_end = 0
        """Records numbered below are under way."""
        self._lost_under_way = 0
        """Of the batch under way: pushed out, though they may still arrive."""
        self._waiting_since = 0.0
        self._is_closed = False
        self._delivered = self._batches = self._tries = 0
        self._dropped: Counter[Dropped] = Counter()

    def __repr__(self) -> str:
        return f"<Backlog [{len(self._lines)} records, {self._bytes} bytes]>"

    def put(self, line: bytes) -> bool:
        """Adds a record, in place of the oldest if need be. True: whoever waits for a batch should look again."""
        return self._lock.put(line) is not False  # one that was left beside the lock is found by looking

    def due_in(self) -> float | None:
        """Seconds until there is a batch to take; None while there is nothing that could be in it."""
        with self._lock:
            if not self._lines:
                return None
            if self._ends or self._fills_a_batch():
                return 0.0
            return max(0.0, self._waiting_since + self._bounds.linger - self._clock())

    def take(self) -> Batch | None:
        """The oldest records that make a batch, which are now under way; None when there are none."""
        with self._lock:
            while self._ends and self._ends[-1] <= self._first:
                self._ends.pop()  # all of it was pushed out
            if not self._lines:
                return None
            if not self._ends:
                self._ends.append(self._first + self._batch_length())
                self._batches += 1
            self._tries += 1
            self._sent_end = self._ends[-1]
            return Batch(tuple(islice(self._lines, self._sent_end - self._first)), self._sent_end)

    def arrived(self, batch: Batch, rejected: int = 0) -> None:
        """The batch has been taken, but for so many of its records."""
        with self._lock:
            if self._is_closed:
                return
            self._lost_under_way = 0  # no, they were not
            rejected = min(rejected, len(batch))
            self._delivered += len(batch) - rejected
            self._dropped[Dropped.REFUSED] += rejected
            self._remove(batch)

    def give_up(self, batch: Batch, why: Dropped) -> None:
        """The batch will not be sent again."""
        with self._lock:
            if self._is_closed:
                return
            self._dropped[why] += len(batch) - self._lost_under_way
            self._settle()
            self._remove(batch)

    def keep(self, batch: Batch) -> None:
        """The batch is to be sent again, as far as it is still here."""
        with self._lock:
            self._settle()

    def halve(self, batch: Batch) -> None:
        """The batch is to be sent again as two, as far as it is still here."""
        with self._lock:
            self._settle()
            left = batch.end - self._first
            if left > 1:
                self._ends.append(self._first + left // 2)

    def close(self) -> int:
        """Drops what is here and what is still to come, also what is under way. How many records are lost now."""
        with self._lock:
            self._is_closed = True
            self._settle()
            left = len(self._lines)
            self._dropped[Dropped.AT_EXIT] += left
            self._first += left
            self._lines.clear()
            self._ends.clear()
            self._bytes = 0
            return left

    def stats(self) -> Stats:
        with self._lock:
            dropped = {reason: self._dropped[reason] for reason in Dropped}
            return Stats(len(self._lines), self._bytes, self._delivered, dropped, self._batches, self._tries)

    def _add(self, line: bytes) -> bool:
        size, bounds = len(line), self._bounds
        if self._is_closed:
            self._dropped[Dropped.AT_EXIT] += 1
            return False
        if size > bounds.batch_bytes:
            self._dropped[Dropped.TOO_LARGE] += 1
            return False
        while self._lines and (len(self._lines) >= bounds.records or self._bytes + size > bounds.bytes):
            self._push_out()
        was_empty, was_full = not self._lines, self._fills_a_batch()
        self._lines.append(line)
        self._bytes += size
        if was_empty:
            self._waiting_since = self._clock()
        return was_empty or (self._fills_a_batch() and not was_full)

    def _fills_a_batch(self) -> bool:
        return len(self._lines) >= self._bounds.batch_records or self._bytes >= self._bounds.batch_bytes

    def _batch_length(self) -> int:
        size = 0
        for length, line in enumerate(islice(self._lines, self._bounds.batch_records)):
            size += len(line)
            if size > self._bounds.batch_bytes:
                return length
        return min(len(self._lines), self._bounds.batch_records)

    def _push_out(self) -> None:
        self._bytes -= len(self._lines.popleft())
        self._first += 1
        if self._first <= self._sent_end:
            self._lost_under_way += 1
        else:
            self._dropped[Dropped.OVERFLOW] += 1

    def _settle(self) -> None:
        """What was pushed out of the batch under way has not arrived."""
        self._dropped[Dropped.OVERFLOW] += self._lost_under_way
        self._lost_under_way = 0
        self._sent_end = self._first

    def _remove(self, batch: Batch) -> None:
        while self._first < batch.end:
            self._bytes -= len(self._lines.popleft())
            self._first += 1
        self._ends.pop()
        self._sent_end = self._first
        self._waiting_since = self._clock()
