"""The instants of a value by another clock. PURE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from dataclasses import replace as replace_in_dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from manager_agent.frozen import Frozen, replace

T = TypeVar("T")


def shifted(value: T, seconds: float, *, except_in: tuple[type, ...] = ()) -> T:
    """The value by a clock that is ahead by so many seconds: every float in it is an instant, in frozen values,
    dataclasses, models and tuples too, except in those of the types `except_in`."""
    found: T = _shifted(value, seconds, except_in) if seconds else value
    return found


def _shifted(value: Any, seconds: float, except_in: tuple[type, ...]) -> Any:
    if isinstance(value, float):
        return value + seconds
    if type(value) is tuple:
        return tuple(_shifted(item, seconds, except_in) for item in value)
    if isinstance(value, except_in):
        return value
    if isinstance(value, Frozen):
        return replace(value, **_changed(value, value.__struct_fields__, seconds, except_in))
    if isinstance(value, BaseModel):
        return value.model_copy(update=_changed(value, type(value).model_fields, seconds, except_in))
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        return replace_in_dataclass(value, **_changed(value, names, seconds, except_in))
    return value


def _changed(value: object, names: Iterable[str], seconds: float, except_in: tuple[type, ...]) -> dict[str, Any]:
    """The attributes with these names that have instants, shifted."""
    before = {name: getattr(value, name) for name in names}
    after = {name: _shifted(item, seconds, except_in) for name, item in before.items()}
    return {name: item for name, item in after.items() if item is not before[name]}
