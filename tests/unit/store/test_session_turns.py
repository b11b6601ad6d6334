"""One write of a replica at a time for each session."""

from __future__ import annotations

import asyncio
import weakref

import pytest

from manager_agent.store.session_turns import SessionTurns

pytestmark = pytest.mark.unit


async def test_writes_of_one_session_wait_for_each_other() -> None:
    turns, done = SessionTurns(), list[str]()

    async def write(session_id: str, name: str) -> None:
        async with turns.of(session_id):
            done.append(f"{name} begins")
            await asyncio.sleep(0)
            done.append(f"{name} ends")

    await asyncio.gather(write("ses_1", "a"), write("ses_1", "b"), write("ses_2", "c"))
    assert done == ["a begins", "c begins", "a ends", "c ends", "b begins", "b ends"]


async def test_nothing_is_kept_of_a_session_that_is_not_written() -> None:
    turns = SessionTurns()
    lock = weakref.ref(turns.of("ses_1"))
    assert lock() is None
    async with turns.of("ses_1"):
        assert turns.of("ses_1").locked()
