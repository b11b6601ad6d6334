"""When each of many things is due.

PURE. A heap would keep what is no longer due at its time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator


class DueTimes:
    def __init__(self) -> None:
        self._sorted: list[tuple[float, str]] = []
        self._times: dict[str, float] = {}

    def set(self, key: str, at: float) -> None:
        """It is due at `at`; infinity: never."""
        before = self._times.get(key, math.inf)
        if at == before:
            return
        if before < math.inf:
            del self._times[key], self._sorted[bisect_left(self._sorted, (before, key))]
        if at < math.inf:
            self._times[key] = at
            insort(self._sorted, (at, key))

    def take(self, now: float) -> Iterator[str]:
        """What is due, which then is not any more."""
        while self._sorted and self._sorted[0][0] <= now:
            key = self._sorted[0][1]
            self.set(key, math.inf)
            yield key
