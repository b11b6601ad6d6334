"""Records in memory: they end with the process."""

from __future__ import annotations

from collections.abc import Sequence

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.records.records import FROZEN, Kind, Listener, ReadAnew, Record, RecordStats

SWEEP_INTERVAL = 60.0
"""Seconds between two removals of expired records."""


class MemoryRecords:
    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[tuple[Kind, str], Record] = {}
        self._swept_at = clock()
        self._is_frozen = False

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...

    async def load(self, kind: Kind) -> Sequence[Record]:
        now = self._clock()
        return [record for record in self._records.values() if record.kind is kind and record.is_live(now)]

    def put(self, kind: Kind, key: str, value: bytes, expires_at: float | None = None) -> None:
        if not self._is_frozen:
            self._records[kind, key] = Record(kind, key, value, expires_at)
            self._sweep()

    def delete(self, kind: Kind, key: str) -> None:
        if not self._is_frozen:
            self._records.pop((kind, key), None)

    def listen(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None = None) -> None: ...

    async def last_writer(self) -> str:
        return ""

    async def take_over(self, turn: str) -> None: ...

    def freeze(self) -> None:
        self._is_frozen = True

    async def committed(self) -> None:
        if self._is_frozen:
            raise NotActing(FROZEN)

    @property
    def stats(self) -> RecordStats:
        return RecordStats(is_frozen=self._is_frozen)

    def _sweep(self) -> None:
        if (now := self._clock()) < self._swept_at + SWEEP_INTERVAL:
            return
        self._swept_at = now
        for place, record in list(self._records.items()):
            if not record.is_live(now):
                del self._records[place]
