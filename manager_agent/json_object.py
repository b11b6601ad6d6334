"""A JSON object kept as UTF-8 text. PURE.

Callers' metadata is kept for as long as a session or a registration, and hardly ever read. Parsed, 16 KiB of
`[{},{},...]` take 400 KiB of memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class JsonObject:
    """`bool()`: whether it has any member. In a pydantic model it is validated from a dictionary, and serialized as
    one."""

    raw: bytes = b"{}"
    """Without white space between its parts."""

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
