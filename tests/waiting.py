"""Waits that are bounded and, when they fail, say what was awaited and what was seen last."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pytest

RESERVE = 5.0
"""Seconds before the test's own timeout at which a wait gives up, so that it can still say why."""
SHOWN = 4_000
"""Characters of what was seen last."""

T = TypeVar("T")

_deadline = [float("inf")]


def begin_test(item: pytest.Item) -> None:
    """Let the waits of this test end before its own timeout does."""
    marker = item.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker else item.config.getini("timeout") or 0)
    _deadline[0] = time.monotonic() + seconds - RESERVE if seconds else float("inf")


@asynccontextmanager
async def waiting_for(wanted: str, seen: Callable[[], object], within: float = float("inf")) -> AsyncIterator[None]:
    """Bound what happens in the block by `within` seconds and by the test's own timeout.

    `wanted` names what is awaited, and `seen` gives what there is of it. Raises AssertionError with both."""
    seconds = max(0.0, min(within, _deadline[0] - time.monotonic()))
    try:
        async with asyncio.timeout(seconds if seconds != float("inf") else None) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise AssertionError(f"waited {seconds:.1f} s for {wanted}; last seen: {_shown(seen)}") from None


async def eventually(
    wanted: str,
    look: Callable[[], Awaitable[T]],
    holds: Callable[[T], object] = bool,
    *,
    within: float = float("inf"),
    every: float = 0.02,
) -> T:
    """Look again and again, where no event tells of a change, and return the first value that holds.

    Looks every `every` seconds. Raises AssertionError with the last value."""
    latest: list[T] = []
    async with waiting_for(wanted, lambda: latest, within):
        while True:
            latest[:] = [await look()]
            if holds(latest[0]):
                return latest[0]
            await asyncio.sleep(every)


def described(condition: Callable[..., Any]) -> str:
    """The name of a condition or, where it is a lambda, the line that has it."""
    name: str = getattr(condition, "__name__", repr(condition))
    if name != "<lambda>":
        return name
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return "the condition"


def _shown(seen: Callable[[], object]) -> str:
    try:
        text = repr(seen())
    except Exception as error:
        text = repr(error)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
