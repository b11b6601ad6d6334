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
    return cast(list[ListedTest], in_stretches(cast(Any, tests), workers, usual=180))


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


def files_of(tests: list[ListedTest]) -> list[str]:
    return list(dict.fromkeys(test.path.name for test in tests))


def test_one_stretch_computes_and_the_others_begin_with_what_waits_the_longest_first() -> None:
    tests = placed([*TESTS, *listed("more", 12)], 3)
    stretches = [tests[first : first + 12] for first in (0, 12, 24)]
    assert list(map(files_of, stretches)) == [
        ["slow_unit", "api", "unit"],
        ["kills", "live_a", "unit", "more"],
        ["live_b", "more"],
    ]


def test_all_stretches_begin_with_what_waits_if_no_more_than_one_could_compute() -> None:
    tests = placed([*listed("live_a", 2, "live"), *listed("live_b", 2, "live"), *listed("unit", 2)], 2)
    assert [files_of(tests[:3]), files_of(tests[3:])] == [["live_a", "unit"], ["live_b", "unit"]]
