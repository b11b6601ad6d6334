"""Metadata kept as text instead of Python objects."""

from __future__ import annotations

import json
import sys
import tracemalloc

import pytest
from pydantic import BaseModel

from manager_agent.json_object import EMPTY, JsonObject

pytestmark = pytest.mark.unit

LARGE: dict[str, object] = {"list": [{} for _ in range(5_400)]}
"""16 KiB of JSON."""


class _Model(BaseModel):
    metadata: JsonObject


@pytest.mark.parametrize("value", [{}, {"plan": "gold"}, {"名": ["语", 1.5, None, True, {"a": "\u2028"}]}, LARGE])
def test_json_object_is_the_same_after_being_kept_as_text(value: dict[str, object]) -> None:
    kept = JsonObject.of(value)
    assert kept.parsed() == json.loads(kept.text) == value
    assert bool(kept) is bool(value)


def test_json_object_takes_no_more_memory_than_its_text() -> None:
    value = LARGE
    tracemalloc.start()
    try:
        kept = JsonObject.of(value)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 2 * len(kept.raw)
    assert sys.getsizeof(kept.raw) < 17_000


def test_json_object_is_text_without_escapes_and_spaces() -> None:
    assert JsonObject.of({"名": ["语"]}).text == '{"名":["语"]}'
    assert EMPTY.text == "{}"


def test_json_object_is_a_plain_object_in_a_model() -> None:
    model = _Model.model_validate({"metadata": {"plan": "gold"}})
    assert model.metadata == JsonObject.of({"plan": "gold"})
    assert json.loads(model.model_dump_json()) == {"metadata": {"plan": "gold"}}
