"""A JSON object kept as UTF-8 text. PURE.

Callers' metadata is kept for as long as a session or a registration, and hardly ever read. Parsed, 16 KiB of
`[{},{},...]` take 400 KiB of memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class JsonObject:
    """`bool()`: whether it has any member. In a pydantic model it is validated from a dictionary, and serialized as
    one. frozen_json.py writes and reads it as an object too."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes = b"{}") -> None:
        """`raw`: without white space between its parts."""
        self.raw: Final = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonObject) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"JsonObject({self.raw!r})"

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Raises TypeError for a value that JSON does not have."""
        return cls(json.dumps(dict(value), ensure_ascii=False, separators=(",", ":")).encode())

    @property
    def text(self) -> str:
        return self.raw.decode()

    def parsed(self) -> dict[str, Any]:
        """A new dictionary at each call."""
        value: dict[str, Any] = json.loads(self.raw)
        return value

    def __bool__(self) -> bool:
        return self.raw != b"{}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls.of,
            core_schema.dict_schema(core_schema.str_schema()),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.parsed),
        )


EMPTY = JsonObject()
