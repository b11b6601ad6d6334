"""Records of several replicas in one place in memory, for tests of those who hear of each other's changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manager_agent.clock import Clock
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Kind, Listener, ReadAnew, Record


class SharedPlace:
    """What the replicas share. What one puts, the others are told when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.records: dict[tuple[Kind, str], Record] = {}
        self.replicas: list[ReplicaRecords] = []
        self.puts = 0
        self._untold: list[tuple[ReplicaRecords, Kind, str, Record | None]] = []

    def replica(self) -> ReplicaRecords:
        one = ReplicaRecords(self)
        self.replicas.append(one)
        return one

    def change(self, by: ReplicaRecords, kind: Kind, key: str, record: Record | None) -> None:
        self.puts += record is not None
        if record is None:
            self.records.pop((kind, key), None)
        else:
            self.records[kind, key] = record
        self._untold += [(one, kind, key, record) for one in self.replicas if one is not by]

    def tell_all(self) -> int:
        """Tell the replicas of all changes, also of those that they make thereupon. Returns how many there were."""
        told = 0
        while self._untold:
            assert told < 1_000, "the replicas answer each other without end"
            replica, kind, key, record = self._untold.pop(0)
            replica.tell(kind, key, record)
            told += 1
        return told

    def lose_all(self) -> None:
        self.records.clear()
        self._untold.clear()


class ReplicaRecords(MemoryRecords):
    is_shared = True

    def __init__(self, place: SharedPlace) -> None:
        super().__init__(place.clock)
        self._place = place
        self._listeners: dict[Kind, tuple[Listener, ReadAnew | None]] = {}

    async def load(self, kind: Kind) -> Sequence[Record]:
        now = self._place.clock()
        return [record for record in self._place.records.values() if record.kind is kind and record.is_live(now)]

    def put(self, kind: Kind, key: str, value: bytes, expires_at: float | None = None) -> None:
        self._place.change(self, kind, key, Record(kind, key, value, expires_at))

    def delete(self, kind: Kind, key: str) -> None:
        self._place.change(self, kind, key, None)

    def listen(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None = None) -> None:
        self._listeners[kind] = (listener, read_anew)

    def tell(self, kind: Kind, key: str, record: Record | None) -> None:
        if kind in self._listeners:
            self._listeners[kind][0](record, key)

    async def read_anew(self, *, are_lost: bool) -> None:
        for kind, (listener, read_anew) in self._listeners.items():
            records: Iterable[Record] = await self.load(kind)
            for record in records:
                listener(record, record.key)
            if read_anew is not None:
                read_anew({record.key for record in records}, are_lost)
