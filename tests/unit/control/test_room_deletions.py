"""Deletions of rooms whose callers were cancelled: whether they succeeded is known for a while."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.control import room_deletions
from manager_agent.control.room_deletions import RoomDeletions

pytestmark = pytest.mark.unit


async def cut_off(deletions: RoomDeletions, session_id: str, error: Exception | None = None) -> None:
    """Begin a deletion, and cancel its caller."""
    begun = asyncio.Event()

    async def delete() -> None:
        begun.set()
        await asyncio.sleep(0)
        if error is not None:
            raise error

    caller = asyncio.create_task(deletions.run(session_id, delete()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()


async def test_the_outcome_is_known_although_its_caller_was_cancelled() -> None:
    deletions = RoomDeletions()
    await cut_off(deletions, "s1")
    await cut_off(deletions, "s2", OSError())
    assert [await deletions.has_deleted(each) for each in ("s1", "s2", "s3")] == [True, False, False]


async def test_only_so_many_outcomes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_deletions, "REMEMBERED", 2)
    deletions = RoomDeletions()
    for session_id in ("s1", "s2", "s3"):
        await cut_off(deletions, session_id)
    assert [await deletions.has_deleted(each) for each in ("s1", "s2", "s3")] == [False, True, True]


async def test_a_deletion_that_was_awaited_is_not_remembered() -> None:
    deletions = RoomDeletions()
    await deletions.run("s1", asyncio.sleep(0))
    assert not await deletions.has_deleted("s1")
