"""What the values of records are: a version, and the JSON of a value. Values that can't be read are skipped.

<version>.<JSON>      the version is raised when an older program could not read the JSON, which may be encrypted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
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


class Json(Protocol[Value]):
    """The JSON of one type of values. FrozenJson is one."""

    def write(self, value: Value) -> bytes: ...

    def read(self, content: bytes) -> Value:
        """Raises ValueError, whose message has nothing of the content."""


class ModelJson(Generic[Value]):
    """Of what pydantic validates: its models, dataclasses and others. Fields that have their default are left out."""

    def __init__(self, kind: type[Value]) -> None:
        self._kind = kind

    @cached_property
    def _adapter(self) -> TypeAdapter[Value]:
        return TypeAdapter(self._kind)

    def write(self, value: Value) -> bytes:
        return self._adapter.dump_json(value, exclude_defaults=True)

    def read(self, content: bytes) -> Value:
        try:
            return self._adapter.validate_json(content)
        except ValidationError as error:
            first: Any = error.errors(include_input=False, include_url=False, include_context=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


class Values(Generic[Value]):
    """Writes and reads the values of one kind of records."""

    def __init__(
        self,
        kind: Kind,
        version: int,
        json: Json[Value],
        cipher: Cipher | None = None,
        *,
        shift: Callable[[Value, float], Value] | None = None,
    ) -> None:
        """`shift`: makes a value with the instants of a clock that is ahead by so many seconds."""
        self._kind, self._version, self._json, self._cipher = kind, version, json, cipher
        self._shift = shift

    def write(self, value: Value) -> bytes:
        content = self._json.write(value)
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
                unreadable[record.key] = str(error)
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
        return self._json.read(content if self._cipher is None else self._cipher.decrypt(content))
