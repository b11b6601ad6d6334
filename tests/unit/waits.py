"""Waits for tests: for what other tasks do. A wait that fails says what was seen last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

INTERVAL = 0.01
"""Seconds between two looks."""


async def until(look: Callable[[], T], holds: Callable[[T], bool] = bool, *, within: float = 5.0) -> T:
    """Look again and again until `holds` is true of what is seen, and return that; fail after `within` seconds of the
    running loop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not holds(seen := look()):
        if loop.time() >= deadline:
            pytest.fail(f"still not so after {within} s; last seen: {seen!r}")
        await asyncio.sleep(INTERVAL)
    return seen


async def let_others_run() -> None:
    """Give every other task its turn, a few times: enough for all that need no timer and no network."""
    for _ in range(5):
        await asyncio.sleep(0)


async def never() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
