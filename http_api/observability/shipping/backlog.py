"""The bounded queue of records to ship, and the counts of delivered and dropped records.

Any thread may put a record in at any time, without I/O and without blocking. A single thread takes batches out and
settles each (`arrived`, `refused`, `keep`, `halve`) before it takes the next.

The records of a batch stay in the queue while it is being sent: they count toward the bounds and are the first to be
dropped on overflow. A batch is identified by its end, because its beginning may have moved when it is sent again.
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
        """The number of the oldest record in the queue. Records are numbered in order of arrival."""
        self._ends: list[int] = []
        """The ends of started batches, the next one last. After a refusal there are several."""
        self._sent_end = 0
        """Records with lower numbers are being sent."""
        self._lost_under_way = 0
        """Records of the batch being sent that were dropped from the queue. They may still arrive."""
        self._waiting_since = 0.0
        self._is_closed = False
        self._delivered = self._batches = self._tries = 0
        self._dropped: Counter[Dropped] = Counter()

    def __repr__(self) -> str:
        return f"<Backlog [{len(self._lines)} records, {self._bytes} bytes]>"

    def put(self, line: bytes) -> bool:
        """Add a record, dropping the oldest if necessary. True: a thread that waits for a batch should check again."""
        return self._lock.put(line) is not False  # None: queued at the lock, which the check processes

    def due_in(self) -> float | None:
        """Seconds until a batch can be taken; None while the queue is empty."""
        with self._lock:
            if not self._lines:
                return None
            if self._ends or self._fills_a_batch():
                return 0.0
            return max(0.0, self._waiting_since + self._bounds.linger - self._clock())

    def take(self) -> Batch | None:
        """Take the oldest records as a batch to send; None when the queue is empty."""
        with self._lock:
            while self._ends and self._ends[-1] <= self._first:
                self._ends.pop()  # all its records were dropped
            if not self._lines:
                return None
            if not self._ends:
                self._ends.append(self._first + self._batch_length())
                self._batches += 1
            self._tries += 1
            self._sent_end = self._ends[-1]
            return Batch(tuple(islice(self._lines, self._sent_end - self._first)), self._sent_end)

    def arrived(self, batch: Batch, rejected: int = 0) -> None:
        """The collector accepted the batch, except for `rejected` of its records."""
        with self._lock:
            if self._is_closed:
                return
            self._lost_under_way = 0  # they did arrive
            rejected = min(rejected, len(batch))
            self._delivered += len(batch) - rejected
            self._dropped[Dropped.REFUSED] += rejected
            self._remove(batch)

    def refused(self, batch: Batch) -> None:
        """Drop the batch: the collector will never accept it."""
        with self._lock:
            if self._is_closed:
                return
            self._dropped[Dropped.REFUSED] += len(batch) - self._lost_under_way
            self._settle()
            self._remove(batch)

    def keep(self, batch: Batch) -> None:
        """Send the batch again later, as far as its records are still in the queue."""
        with self._lock:
            self._settle()

    def halve(self, batch: Batch) -> None:
        """Send the batch again in two halves, as far as its records are still in the queue."""
        with self._lock:
            self._settle()
            left = batch.end - self._first
            if left > 1:
                self._ends.append(self._first + left // 2)

    def close(self) -> int:
        """Drop all records, including those being sent and any put later. Returns the number of records lost now."""
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
        """Count the records dropped from the batch being sent as lost: they did not arrive."""
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
