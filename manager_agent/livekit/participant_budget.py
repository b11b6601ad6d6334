"""How much one participant may send to the manager: beyond it, messages are dropped before they cost anything.

A token bucket for each participant of a room, shared by its data messages, RPCs and attribute changes. Used by the
SDK's own thread and by the event loop.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from threading import Lock

DATA, RPC, ATTRIBUTES = KINDS = "data", "rpc", "attributes"
TAKEN, DROPPED = OUTCOMES = "taken", "dropped"
BURST, PER_SECOND = 100.0, 50.0
PARTICIPANTS_MAX = 1_000
"""Participants that are remembered. An older one starts with a full bucket again."""


class ParticipantBudget:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """The tokens that each participant had left, and when."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = Lock()

    def takes(self, identity: str, what: str) -> bool:
        """Whether to process this message of a participant. It is counted under `what`."""
        now = self._clock()
        with self._lock:
            left, at = self._buckets.get(identity, (BURST, now))
            left = min(BURST, left + (now - at) * PER_SECOND)
            is_taken = left >= 1.0
            self._buckets[identity] = (left - 1.0 if is_taken else left, now)
            self._buckets.move_to_end(identity)
            if len(self._buckets) > PARTICIPANTS_MAX:
                self._buckets.popitem(last=False)
            self._counts[what, TAKEN if is_taken else DROPPED] += 1
        return is_taken

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many messages there were so far, by what they are and whether they were TAKEN or DROPPED."""
        with self._lock:
            return self._counts.copy()

    @property
    def dropped(self) -> dict[str, int]:
        """How many messages were dropped so far, by what they are."""
        return {what: count for (what, outcome), count in self.counts.items() if outcome == DROPPED}
