"""The ends of processes that a test has started, awaited for a bounded time."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import Callable

from tests.waiting import waiting_for


async def ended(process: Process, name: str, seen: Callable[[], object] | None = None) -> int:
    """Return its exit code once it has ended. Kills it if it does not end in time, and raises AssertionError.

    `name` and `seen` are for the message: what is awaited, and what there is of it."""
    await finished(process, name, seen)
    assert process.returncode is not None
    return process.returncode


async def finished(process: Process, name: str, seen: Callable[[], object] | None = None) -> tuple[bytes, bytes]:
    """Return its output and error output, as far as they are piped, once it has ended; otherwise like `ended`."""
    try:
        async with waiting_for(f"{name} to end", seen or (lambda: process)):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return output or b"", errors or b""
