"""The room's metadata: written at every change, seldom enough, and the last change always."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.clock import steady_clock
from manager_agent.control.room_status import PER_SECONDS, WRITES, keep_room_informed
from manager_agent.livekit.server_api import LiveKitUnavailable, Rooms
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from tests.unit.sessions import ASR, JOINS, START, a_session, accepted, created, invited, left, seen

pytestmark = pytest.mark.unit

CHANGES = 60


class Board(Rooms):
    """Remembers what is written into the room, and when; `faults` are raised first, one each time."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.told: list[tuple[float, int]] = []

    async def show_status(self, session: Session) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.told.append((asyncio.get_running_loop().time(), session.revision))


async def informed(store: MemoryStore, rooms: Board) -> None:
    """Until the newest revision of the session is told."""
    async with asyncio.timeout(10):
        while not rooms.told or rooms.told[-1][1] < store.get("s1").revision:
            await asyncio.sleep(0.01)


async def test_changes_that_come_fast_are_told_together_and_the_last_one_always() -> None:
    clock, rooms = steady_clock(), Board()
    store = MemoryStore(clock)
    await store.add(a_session(JOINS))
    for event in (*created(), *invited(ASR), *accepted(ASR)):
        await store.update("s1", event)
    room_status = asyncio.create_task(keep_room_informed("s1", 0, store=store, rooms=rooms, clock=clock))
    try:
        for n in range(CHANGES):
            comes_or_goes = seen if n % 2 == 0 else left
            await store.update("s1", comes_or_goes("sm-asr-1", f"PA_{n // 2}", START + n))
            await asyncio.sleep(PER_SECONDS / CHANGES)
        await informed(store, rooms)
    finally:
        room_status.cancel()
    assert store.get("s1").revision > CHANGES
    at = [instant for instant, _ in rooms.told]
    assert all(later - earlier > PER_SECONDS * 0.9 for earlier, later in zip(at, at[WRITES:], strict=False))


@pytest.mark.parametrize("fault", [LiveKitUnavailable("down"), RuntimeError("as the test wants it")])
async def test_a_write_that_failed_is_made_up_for(fault: Exception) -> None:
    clock, rooms = steady_clock(), Board(fault)
    store = MemoryStore(clock)
    await store.add(a_session(JOINS))
    room_status = asyncio.create_task(keep_room_informed("s1", 0, store=store, rooms=rooms, clock=clock))
    try:
        await informed(store, rooms)
    finally:
        room_status.cancel()
