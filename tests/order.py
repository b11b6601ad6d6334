"""The order of the tests in a run with several workers: those that mostly wait, or take long, come first.

xdist gives each worker one stretch of the list and, when that is done, what is left at the end of another's. So each
stretch begins with its share of the slow files, and what is left last are short tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, filterfalse, groupby, islice

import pytest

SLOW = ("chaos", "live", "browser")
"""Tests with these marks mostly wait."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = in_stretches(items, workers)


def in_stretches(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The tests in as many stretches of equal length as there are workers. The tests of a file stay together."""
    files = [list(group) for _, group in groupby(items, lambda item: item.path)]
    slow = sorted(filter(_is_slow, files), key=lambda file: max(map(_timeout, file)), reverse=True)
    short = chain.from_iterable(filterfalse(_is_slow, files))
    length = -(-len(items) // workers)
    return [item for nth in range(workers) for item in _stretch(slow[nth::workers], short, length)]


def _stretch(slow: Sequence[list[pytest.Item]], short: Iterator[pytest.Item], length: int) -> list[pytest.Item]:
    first = list(chain.from_iterable(slow))
    return [*first, *islice(short, max(0, length - len(first)))]


def _is_slow(file: Iterable[pytest.Item]) -> bool:
    return any(_timeout(item) or any(map(item.get_closest_marker, SLOW)) for item in file)


def _timeout(item: pytest.Item) -> float:
    """The seconds that the test may take if that is longer than others may; else 0."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None else 0.0
