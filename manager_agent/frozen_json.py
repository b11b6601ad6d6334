"""Frozen values as JSON: fields that have their default are left out, and those that are not known are ignored. PURE.

Infinity is written as `Infinity`, which JSON does not have and most parsers read.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from pydantic_core import from_json, to_json

from manager_agent.frozen import Frozen
from manager_agent.json_object import JsonObject

FrozenValue = TypeVar("FrozenValue", bound=Frozen)


class FrozenJson(Generic[FrozenValue]):
    """Writes and reads the values of one type."""

    def __init__(self, kind: type[FrozenValue]) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_json_object)

    def write(self, value: FrozenValue) -> bytes:
        content = _ENCODER.encode(value)
        if b"null" not in content:
            return content
        # maybe for an infinite number
        return to_json(msgspec.to_builtins(value, enc_hook=_parsed), inf_nan_mode="constants")

    def read(self, content: bytes) -> FrozenValue:
        """Raises ValueError, whose message has nothing of the content."""
        try:
            return self._read(content)
        except msgspec.ValidationError as error:
            raise ValueError(_complaint(error)) from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def _read(self, content: bytes) -> FrozenValue:
        try:
            return self._decoder.decode(content)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # maybe an infinite number
            return msgspec.convert(from_json(content), self._kind, dec_hook=_json_object)


def _raw(value: Any) -> msgspec.Raw:
    if isinstance(value, JsonObject):
        return msgspec.Raw(value.raw)
    raise NotImplementedError(type(value).__name__)


def _parsed(value: Any) -> dict[str, Any]:
    if isinstance(value, JsonObject):
        return value.parsed()
    raise NotImplementedError(type(value).__name__)


def _json_object(kind: type, value: Any) -> JsonObject:
    if kind is not JsonObject:
        raise NotImplementedError(kind.__name__)
    if not isinstance(value, dict):
        raise ValueError("Expected `object`")
    return JsonObject.of(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_raw)


def _complaint(error: msgspec.ValidationError) -> str:
    """Messages about an enum have the value that was found."""
    what, _, where = str(error).rpartition(" - at ")
    return f"Invalid enum value - at {where}" if what.startswith("Invalid enum value") else str(error)
