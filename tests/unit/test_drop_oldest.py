"""Dicts that are bounded."""

from __future__ import annotations

import pytest

from manager_agent.drop_oldest import drop_oldest

pytestmark = pytest.mark.unit


def test_what_was_put_there_first_is_forgotten() -> None:
    kept = {"a": 1, "b": 2, "c": 3}
    kept["a"] = 4  # stays where it is
    drop_oldest(kept, 3)
    assert list(kept) == ["a", "b", "c"]
    drop_oldest(kept, 1)
    assert kept == {"c": 3}
    drop_oldest(kept, 0)
    assert kept == {}
