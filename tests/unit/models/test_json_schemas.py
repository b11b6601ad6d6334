"""Patterns in the OpenAPI document accept exactly the characters that the server accepts."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from http_api.models import field_types, json_schemas
from http_api.protocol.bodies import UNPRINTABLE

pytestmark = pytest.mark.unit

EVERY = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
"""All characters but surrogates, which do not occur in JSON text in UTF-8."""


def accepts(kind: Any) -> Callable[[str], bool]:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def accepted(text: str) -> bool:
        try:
            adapter.validate_python(text)
        except ValidationError:
            return False
        return True

    return accepted


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        (json_schemas.PRINTABLE, accepts(field_types.Printable)),
        (json_schemas.ROOM_NAME, accepts(field_types.RoomName)),
        (json_schemas.USER_IDENTITY, accepts(field_types.UserIdentity)),
        (json_schemas.ONE_LINE, accepts(field_types.UserName)),
        (json_schemas.TEXT, lambda text: UNPRINTABLE.search(text) is None),
    ],
)
def test_a_schema_pattern_accepts_the_same_characters_as_the_server(
    schema: json_schemas.Schema, accepted: Callable[[str], bool]
) -> None:
    pattern = re.compile(schema["pattern"].removesuffix("$") + r"\Z")  # ECMA's `$`
    assert [c for c in EVERY if (pattern.search(c) is not None) != accepted(c)] == []
