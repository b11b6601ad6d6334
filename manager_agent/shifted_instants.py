"""The instants of a value by another clock. PURE."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


def shifted(value: T, seconds: float, *, except_in: tuple[type, ...] = ()) -> T:
    """The value by a clock that is ahead by so many seconds: every float in it is an instant, in dataclasses and tuples
    too, except in dataclasses of the types `except_in`."""
    found: T = _shifted(value, seconds, except_in) if seconds else value
    return found


def _shifted(value: Any, seconds: float, except_in: tuple[type, ...]) -> Any:
    if isinstance(value, float):
        return value + seconds
    if type(value) is tuple:
        return tuple(_shifted(item, seconds, except_in) for item in value)
    if not is_dataclass(value) or isinstance(value, (type, except_in)):
        return value
    before = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    after = {name: _shifted(item, seconds, except_in) for name, item in before.items()}
    return replace(value, **{name: item for name, item in after.items() if item is not before[name]})
