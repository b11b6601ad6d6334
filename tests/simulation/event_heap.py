"""The virtual clock: what happens is a heap of calls with their instants, and time is that of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Call = Callable[..., object]


class EventHeap:
    """Calls at one instant are made in the order in which they were asked for."""

    def __init__(self, start: float) -> None:
        self.now = start
        """Seconds since the epoch."""
        self.calls = 0
        """How many were made."""
        self._heap: list[tuple[float, int, Call, tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: float, call: Call, *arguments: Any) -> None:
        self._asked += 1
        heappush(self._heap, (max(when, self.now), self._asked, call, arguments))

    def after(self, seconds: float, call: Call, *arguments: Any) -> None:
        self._asked += 1
        heappush(self._heap, (self.now + seconds, self._asked, call, arguments))

    def run(self, until: float = math.inf) -> None:
        """Until nothing is left to happen, or until that instant."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call, arguments = heappop(heap)
            self.calls += 1
            call(*arguments)
        if until < math.inf:
            self.now = max(self.now, until)

    def stop(self) -> None:
        """Nothing else happens."""
        self._heap.clear()
