"""What is done to the session manager at the chosen moment. A new kind of disturbance is one more function here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from tests.chaos.happenings import AwaitedMoment
from tests.live.manager_process import ManagerProcess

Disturbance = Callable[[ManagerProcess, AwaitedMoment | None], Coroutine[Any, Any, None]]
"""Returns once the session manager works again. The second argument: a moment after the restart to strike again."""

SECOND_TIMEOUT = 3.0
"""Seconds in which the second moment may come."""


async def kill_and_restart(manager: ManagerProcess, again: AwaitedMoment | None) -> None:
    """kill -9, and another process at once; with `again`, kill -9 of that one too, in the midst of its recovery."""
    await manager.kill()
    if again is not None:
        starting = asyncio.create_task(manager.start())
        with suppress(TimeoutError):
            async with asyncio.timeout(SECOND_TIMEOUT):
                await again.reached.wait()
        await manager.kill()
        again.struck.set()
        starting.cancel()
        await asyncio.wait([starting])
    await manager.start()
