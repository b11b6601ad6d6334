"""What the values of records are: a version, and the JSON of a dataclass. Values that can't be read are skipped.

<version>.<JSON>      the version is raised when an older program could not read the JSON
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from manager_agent.records.records import Kind, Record

log = structlog.get_logger()

Value = TypeVar("Value")


class Values(Generic[Value]):
    """Writes and reads the values of one kind of records."""

    def __init__(self, kind: Kind, version: int, adapter: TypeAdapter[Value]) -> None:
        self._kind, self._version, self._adapter = kind, version, adapter

    def write(self, value: Value) -> bytes:
        return b"%d.%b" % (self._version, self._adapter.dump_json(value, exclude_defaults=True))

    def read(self, records: Iterable[Record]) -> dict[str, Value]:
        """The values by the keys of their records, in this order. Those that can't be read are left out, which is
        logged once."""
        values: dict[str, Value] = {}
        unreadable: dict[str, str] = {}
        for record in records:
            try:
                values[record.key] = self._read(record.value)
            except ValueError as error:
                unreadable[record.key] = _reason(error)
        if unreadable:
            log.warning(
                "records_unreadable", kind=self._kind, count=len(unreadable), why=next(iter(unreadable.values()))
            )
        return values

    def _read(self, raw: bytes) -> Value:
        """Raises ValueError."""
        version, _, content = raw.partition(b".")
        if version != b"%d" % self._version:
            raise ValueError(f"this program reads version {self._version}, not {version[:10]!r}")
        return self._adapter.validate_json(content)


def _reason(error: ValueError) -> str:
    """Without what was in the value."""
    if not isinstance(error, ValidationError):
        return str(error)
    first: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
