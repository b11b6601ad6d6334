"""Pauses between retries."""

from __future__ import annotations

import random
from collections.abc import Iterator


def pauses(first: float, longest: float) -> Iterator[float]:
    """Yield the seconds before each next try, endlessly: doubling from `first` up to `longest`, minus up to a third of
    jitter, so that clients that failed together do not retry together."""
    pause = first
    while True:
        yield pause * random.uniform(2 / 3, 1)
        pause = min(pause * 2, longest)
