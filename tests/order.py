"""The order of the tests in a run with several workers: one worker computes while the others wait.

xdist gives each worker one stretch of the list and, when that is done, what is left at the end of another's. So one
stretch has only tests that keep a core busy; each of the others begins with its share of those that mostly wait. The
longest of each come first, and what is left last are short tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby, islice

import pytest

WAITING = ("chaos", "live", "browser")
"""Tests with these marks mostly wait."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = in_stretches(items, workers, usual=float(config.getini("timeout") or 0))


def in_stretches(items: Sequence[pytest.Item], workers: int, usual: float) -> list[pytest.Item]:
    """The tests in as many stretches of equal length as there are workers. The tests of a file stay together.

    `usual`: the timeout of tests that have none of their own."""
    files = [list(group) for _, group in groupby(items, lambda item: item.path)]
    files.sort(key=lambda file: max(_timeout(item, usual) for item in file), reverse=True)
    waiting = [file for file in files if _waits(file)]
    busy = [item for file in files if not _waits(file) for item in file]
    length = -(-len(items) // workers)
    alone = busy[:length] if len(busy) > length else []
    rest = iter(busy[len(alone) :])
    shares = _shares(waiting, workers - bool(alone), usual)
    return [*alone, *chain.from_iterable([*share, *islice(rest, max(0, length - len(share)))] for share in shares)]


def _shares(files: Iterable[list[pytest.Item]], count: int, usual: float) -> list[list[pytest.Item]]:
    """So many shares that may take equally long: each file goes to the one that may take the shortest by then."""
    shares: list[list[pytest.Item]] = [[] for _ in range(count)]
    for file in files:
        min(shares, key=lambda share: sum(_timeout(item, usual) for item in share)).extend(file)
    return shares


def _waits(file: Iterable[pytest.Item]) -> bool:
    return any(item.get_closest_marker(mark) for item in file for mark in WAITING)


def _timeout(item: pytest.Item, usual: float) -> float:
    """The seconds that the test may take."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None else usual
