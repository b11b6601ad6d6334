"""Joins wait for new sessions and for each other, but not for one that hangs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from manager_agent.livekit.join_slots import (
    HELD_MAX,
    JOINS_AT_ONCE,
    JOINS_MAX,
    YIELD_MAX,
    JoinSlots,
    JoinsUnderWay,
    NewSessions,
)
from tests.unit.virtual_time import in_virtual_time, let_pass, now

pytestmark = pytest.mark.unit


class Joins:
    """So many joins, which take as long as given."""

    def __init__(self, count: int, seconds: float, new_sessions: NewSessions | None = None) -> None:
        self._slots, self._seconds = JoinSlots(new_sessions), seconds
        self.begun = self.under_way = self.most = 0
        self.all = asyncio.gather(*(self._join() for _ in range(count)))

    async def _join(self) -> None:
        async with self._slots.slot():
            self.begun += 1
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(self._seconds)
            self.under_way -= 1


@in_virtual_time
async def test_a_burst_of_joins_is_bounded_and_all_of_them_get_their_turn() -> None:
    joins = Joins(5 * JOINS_AT_ONCE, 0.3)
    await joins.all
    assert (joins.begun, joins.most) == (5 * JOINS_AT_ONCE, JOINS_AT_ONCE)


@in_virtual_time
async def test_joins_that_hang_keep_no_other_one_waiting_for_long() -> None:
    joins = Joins(2 * JOINS_AT_ONCE, 10 * HELD_MAX)
    await let_pass(HELD_MAX / 2)
    assert joins.begun == JOINS_AT_ONCE
    await let_pass(HELD_MAX)
    assert joins.begun == 2 * JOINS_AT_ONCE
    joins.all.cancel()


@in_virtual_time
async def test_joins_that_hang_are_bounded_too() -> None:
    joins = Joins(2 * JOINS_MAX, 100 * HELD_MAX)
    await let_pass(10 * HELD_MAX)
    assert joins.begun == JOINS_MAX
    joins.all.cancel()


@in_virtual_time
async def test_a_join_that_is_cancelled_frees_its_slot_once() -> None:
    hanging = Joins(JOINS_AT_ONCE, 10 * HELD_MAX)
    await let_pass(HELD_MAX / 2)
    hanging.all.cancel()
    await let_pass(HELD_MAX)
    assert hanging._slots._free._value == JOINS_AT_ONCE


@in_virtual_time
async def test_joins_begin_once_the_last_new_session_is_set_up() -> None:
    new_sessions = NewSessions()
    for session_id in ("s1", "s2"):
        new_sessions.note(session_id, is_new=True)
    joins = Joins(3, 0.3, new_sessions)
    new_sessions.note("s1", is_new=False)
    await let_pass(YIELD_MAX / 2)
    assert joins.begun == 0
    new_sessions.note("s2", is_new=False)
    await let_pass(YIELD_MAX / 4)
    assert joins.begun == 3
    await joins.all


@in_virtual_time
async def test_new_sessions_without_end_keep_joins_waiting_for_as_long_as_an_offer_takes() -> None:
    new_sessions = NewSessions()
    new_sessions.note("s1", is_new=True)
    joins = Joins(3, 0.3, new_sessions)
    await let_pass(YIELD_MAX / 2)
    assert joins.begun == 0
    await let_pass(YIELD_MAX)
    assert joins.begun == 3
    await joins.all


async def _join(joins: JoinsUnderWay, session_id: str, seconds: float) -> None:
    with joins.of(session_id):
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    ("lasting", "seconds"),
    [((), 0.0), ((0.5,), 0.5), ((0.5, 1.0), 1.0), ((10 * HELD_MAX,), HELD_MAX)],
    ids=["none", "one", "two", "one that hangs"],
)
@in_virtual_time
async def test_joins_of_a_session_are_awaited(lasting: tuple[float, ...], seconds: float) -> None:
    """Not those of other sessions."""
    joins, began = JoinsUnderWay(), now()
    others = asyncio.create_task(_join(joins, "s2", 100.0))
    own = [asyncio.create_task(_join(joins, "s1", one)) for one in lasting]
    await asyncio.sleep(0)
    await joins.ended("s1")
    assert now() - began == pytest.approx(seconds)
    for task in (others, *own):
        task.cancel()


@in_virtual_time
async def test_a_join_that_fails_is_over() -> None:
    joins, began = JoinsUnderWay(), now()
    with suppress(TimeoutError), joins.of("s1"):
        raise TimeoutError
    await joins.ended("s1")
    assert now() == began
