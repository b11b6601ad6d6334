"""How long to wait between tries."""

from __future__ import annotations

import random
from collections.abc import Iterator


def pauses(first: float, longest: float) -> Iterator[float]:
    """Seconds for each next try, without end: doubling from `first` up to `longest`, less up to a third of
    jitter, so that many who failed together do not come back together."""
    pause = first
    while True:
        yield pause * random.uniform(2 / 3, 1)
        pause = min(pause * 2, longest)
