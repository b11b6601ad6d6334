"""How records are stored in Redis, and how the changelog tells of their changes. PURE.

The scripts are in redis/lua: record.lua has the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manager_agent.records.pending_changes import RecordChange
from manager_agent.records.records import Kind, Record
from manager_agent.redis.entry_ids import order_of


@dataclass(frozen=True, slots=True)
class StoredRecord:
    record: Record
    place: tuple[int, int]
    """By this, records are in the order in which their keys were first put."""


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """An entry of the changelog."""

    kind: Kind
    replica: str
    """The one that made the change."""
    key: str
    record: Record | None
    """None: it is deleted."""


def arguments_of(changes: Iterable[RecordChange], kinds: Sequence[Kind]) -> list[str | bytes | int]:
    """What record_group.lua is told of these changes. `kinds`: in the order of its keys."""
    return [
        argument
        for change in changes
        for argument in (1 + kinds.index(change.kind), change.kind.value, *change_arguments(change))
    ]


def change_arguments(change: RecordChange) -> tuple[str, str, bytes, str]:
    """Verb, key, value and expiry, as record.lua takes them."""
    if change.record is None:
        return "delete", change.key, b"", ""
    expires_at = "" if change.record.expires_at is None else repr(change.record.expires_at)
    return "anew" if change.is_anew else "put", change.key, change.record.value, expires_at


def read_stored(kind: Kind, key: bytes, stored: bytes) -> StoredRecord:
    """Raises ValueError."""
    place, expires_at, value = stored.split(b" ", 2)
    return StoredRecord(_record(kind, key, value, expires_at), order_of(place.decode()))


def read_entry(fields: Mapping[bytes, bytes]) -> RecordEntry:
    """Raises ValueError."""
    try:
        kind, key, replica = Kind(fields[b"kind"].decode()), fields[b"key"], fields[b"replica"].decode()
        value = fields.get(b"value")
        record = None if value is None else _record(kind, key, value, fields[b"expires_at"])
    except KeyError as error:
        raise ValueError(f"an entry without {error}") from None
    return RecordEntry(kind, replica, key.decode(), record)


def _record(kind: Kind, key: bytes, value: bytes, expires_at: bytes) -> Record:
    return Record(kind, key.decode(), value, float(expires_at) if expires_at else None)
