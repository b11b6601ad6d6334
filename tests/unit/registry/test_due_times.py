"""What is due at which time."""

from __future__ import annotations

import math

import pytest

from manager_agent.registry.due_times import DueTimes

pytestmark = pytest.mark.unit


def test_what_is_due_is_taken_once_the_earliest_first() -> None:
    """At the time that was set last."""
    times = DueTimes()
    for key, at in (("a", 5.0), ("b", 3.0), ("c", 3.0), ("d", 1.0), ("a", 2.0), ("d", 9.0), ("c", math.inf)):
        times.set(key, at)
    assert list(times.take(1.9)) == []
    assert list(times.take(3.0)) == ["a", "b"]
    assert list(times.take(3.0)) == []
    times.set("a", 4.0)
    assert list(times.take(10.0)) == ["a", "d"]
