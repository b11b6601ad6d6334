"""Those who are told what other replicas change. An error in one of them keeps no other from being told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import structlog

from manager_agent.records.records import Kind, Listener, ReadAnew, Record

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Listening:
    listener: Listener
    read_anew: ReadAnew | None


class RecordListeners:
    def __init__(self) -> None:
        self._by_kind: dict[Kind, list[_Listening]] = {}

    @property
    def kinds(self) -> Iterable[Kind]:
        """Those that anyone listens to."""
        return list(self._by_kind)

    def add(self, kind: Kind, listener: Listener, read_anew: ReadAnew | None) -> None:
        self._by_kind.setdefault(kind, []).append(_Listening(listener, read_anew))

    def tell(self, kind: Kind, record: Record | None, key: str) -> None:
        """Another replica has put this record; None: it has deleted it."""
        for one in self._by_kind.get(kind, ()):
            try:
                one.listener(record, key)
            except Exception:
                log.exception("records_fault", changes=1)

    def tell_all(self, kind: Kind, records: Sequence[Record], keys: Set[str], *, are_lost: bool) -> None:
        """These are the records. `keys`: of those that there are, or will be. `are_lost`: whether others may have been
        lost."""
        for record in records:
            self.tell(kind, record, record.key)
        for one in self._by_kind.get(kind, ()):
            try:
                if one.read_anew is not None:
                    one.read_anew(keys, are_lost)
            except Exception:
                log.exception("records_fault", changes=len(keys))
