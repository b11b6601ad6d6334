"""The order of the tests in a run with several workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from tests.order import in_stretches

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class ListedTest:
    """What pytest knows of a test, as far as its place depends on it."""

    path: Path
    number: int
    mark: str = "unit"
    timeout: float | None = None

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        if name == "timeout" and self.timeout is not None:
            return pytest.Mark("timeout", (self.timeout,), {}, _ispytest=True)
        return pytest.Mark(name, (), {}, _ispytest=True) if name == self.mark else None


def listed(file: str, count: int, mark: str = "unit", timeout: float | None = None) -> list[ListedTest]:
    return [ListedTest(Path(file), number, mark, timeout) for number in range(count)]


def placed(tests: list[ListedTest], workers: int) -> list[ListedTest]:
    return cast(list[ListedTest], in_stretches(cast(Any, tests), workers))


TESTS = [
    *listed("api", 7),
    *listed("live_a", 2, "live"),
    *listed("live_b", 3, "live", 300),
    *listed("kills", 1, "chaos", 900),
    *listed("unit", 10),
    *listed("slow_unit", 1, "unit", 600),
]


def test_every_test_has_one_place() -> None:
    for workers in range(2, 6):
        assert sorted(placed(TESTS, workers), key=TESTS.index) == TESTS


def test_each_stretch_begins_with_its_share_of_the_slow_files_the_slowest_first() -> None:
    first, second = placed(TESTS, 2)[:12], placed(TESTS, 2)[12:]
    assert [test.path.name for test in first[:4]] == ["kills", "live_b", "live_b", "live_b"]
    assert [test.path.name for test in second[:3]] == ["slow_unit", "live_a", "live_a"]
    assert {test.path.name for test in (*first[4:], *second[3:])} == {"api", "unit"}
