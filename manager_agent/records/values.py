"""What the values of records are: a version, and the JSON of a dataclass. Values that can't be read are skipped.

<version>.<JSON>      the version is raised when an older program could not read the JSON, which may be encrypted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from manager_agent.records.records import Kind, Record

log = structlog.get_logger()

Value = TypeVar("Value")


class Cipher(Protocol):
    def encrypt(self, content: bytes) -> bytes: ...

    def decrypt(self, encrypted: bytes) -> bytes:
        """Raises ValueError if it was encrypted with another key, or changed."""


class Values(Generic[Value]):
    """Writes and reads the values of one kind of records."""

    def __init__(
        self,
        kind: Kind,
        version: int,
        adapter: TypeAdapter[Value],
        cipher: Cipher | None = None,
        *,
        shift: Callable[[Value, float], Value] | None = None,
    ) -> None:
        """`shift`: makes a value with the instants of a clock that is ahead by so many seconds."""
        self._kind, self._version, self._adapter, self._cipher = kind, version, adapter, cipher
        self._shift = shift

    def write(self, value: Value) -> bytes:
        content = self._adapter.dump_json(value, exclude_defaults=True)
        return b"%d.%b" % (self._version, content if self._cipher is None else self._cipher.encrypt(content))

    def read(self, records: Iterable[Record]) -> dict[str, Value]:
        """The values by the keys of their records, in this order, with instants by our clock. Those that can't be read
        are left out, which is logged once."""
        values: dict[str, Value] = {}
        unreadable: dict[str, str] = {}
        for record in records:
            try:
                value = self._read(record.value)
                values[record.key] = self._shift(value, record.ahead) if self._shift and record.ahead else value
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
        return self._adapter.validate_json(content if self._cipher is None else self._cipher.decrypt(content))


def _reason(error: ValueError) -> str:
    """Without what was in the value."""
    if not isinstance(error, ValidationError):
        return str(error)
    first: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
