"""FairSlots: who gets a slot, and when."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.outbound.fair_slots import FairSlots, SlotBounds, TooManyWaiting

pytestmark = pytest.mark.unit


class Work:
    """Takes slots in tasks, and notes in which order they were granted."""

    def __init__(self, bounds: SlotBounds) -> None:
        self.slots, self.granted = FairSlots(bounds), list[str]()

    def take(self, owner: str, target: str) -> asyncio.Task[None]:
        async def take() -> None:
            await self.slots.acquire(owner, target)
            self.granted.append(f"{owner} {target}")

        return asyncio.create_task(take())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_owner_whose_targets_hang_delays_no_other_owner() -> None:
    work = Work(SlotBounds(in_all=20, per_owner=5, per_target=2))
    tasks = [work.take("rival", f"hole-{number}") for number in range(100)]
    await settle()
    assert (work.slots.in_use, work.slots.waiting) == (5, 95)
    tasks.append(work.take("acme", "asr"))
    await settle()
    assert work.granted[-1] == "acme asr"
    for task in tasks:
        task.cancel()


async def test_target_that_hangs_leaves_slots_to_its_owners_other_targets() -> None:
    work = Work(SlotBounds(in_all=20, per_owner=5, per_target=2))
    tasks = [work.take("acme", "hole") for _ in range(100)]
    tasks.append(work.take("acme", "asr"))
    await settle()
    assert work.granted == ["acme hole", "acme hole", "acme asr"]
    for task in tasks:
        task.cancel()


async def test_freed_slot_goes_to_the_owner_that_holds_the_fewest() -> None:
    work = Work(SlotBounds(in_all=3, per_owner=3, per_target=3))
    tasks = [work.take("rival", "a") for _ in range(5)] + [work.take("acme", "a")]
    await settle()
    work.slots.release("rival", "a")
    await settle()
    assert work.granted[-1] == "acme a"
    for task in tasks:
        task.cancel()


async def test_targets_of_one_owner_take_turns() -> None:
    work = Work(SlotBounds(in_all=1, per_owner=1, per_target=1))
    tasks = [work.take("acme", target) for target in ("a", "a", "a", "b")]
    await settle()
    for _ in range(4):
        if work.slots.in_use:
            work.slots.release("acme", work.granted[-1].split()[1])
            await settle()
    assert work.granted == ["acme a", "acme a", "acme b", "acme a"]
    await asyncio.gather(*tasks)


async def test_cancelled_wait_takes_no_slot_even_when_it_is_granted_at_that_moment() -> None:
    work = Work(SlotBounds(in_all=1, per_owner=1, per_target=1))
    await work.slots.acquire("acme", "a")
    waiting, granted = work.take("acme", "a"), work.take("acme", "a")
    await settle()
    waiting.cancel()
    await settle()
    assert work.slots.waiting == 1
    work.slots.release("acme", "a")
    granted.cancel()
    late = work.take("acme", "b")
    await settle()
    assert work.granted == ["acme b"]
    work.slots.release("acme", "b")
    await late
    assert (work.slots.in_use, work.slots.waiting) == (0, 0)


async def test_more_than_the_bound_may_not_wait() -> None:
    slots = FairSlots(SlotBounds(in_all=1, per_owner=1, per_target=1, waiting_per_owner=1))
    await slots.acquire("acme", "a")
    waiting = asyncio.create_task(slots.acquire("acme", "b"))
    await settle()
    with pytest.raises(TooManyWaiting):
        await slots.acquire("acme", "c")
    waiting.cancel()
