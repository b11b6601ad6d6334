"""The process's clock: the wall clock read once, plus monotonic time since.

Its instants can be stored and shown, and adjustments of the wall clock expire nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns the current instant in seconds since the epoch."""


def steady_clock() -> Clock:
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()
