"""What a replica does to rooms while sessions are handed over."""

from __future__ import annotations

import asyncio

import pytest

from manager_agent.livekit.room_acts import RoomActs
from manager_agent.not_acting import NotActing

PATIENCE = 60.0


async def turns(number: int = 20) -> None:
    """Let what can go on go on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def act(acts: RoomActs, until: asyncio.Event, session_id: str = "ses_1") -> None:
    async with acts.under_way(session_id):
        acts.begin("delete_room", session_id, "room")
        await until.wait()


async def hold(acts: RoomActs, until: asyncio.Event) -> None:
    async with acts.held("ses_1", PATIENCE):
        await until.wait()


async def test_a_session_is_held_once_nothing_is_under_way() -> None:
    acts, answered, decided, held = RoomActs(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def holding() -> None:
        async with acts.held("ses_1", PATIENCE):
            held.set()
            await decided.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(act(acts, answered))
        group.create_task(act(acts, answered))
        await turns()
        group.create_task(holding())
        await turns()
        assert not held.is_set()
        answered.set()
        await held.wait()
        decided.set()


async def test_what_begins_while_a_session_is_held_waits() -> None:
    acts, answered, decided = RoomActs(), asyncio.Event(), asyncio.Event()
    answered.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(acts, decided))
        await turns()
        waiting = group.create_task(act(acts, answered))
        other = group.create_task(act(acts, answered, "ses_2"))
        await turns()
        assert (waiting.done(), other.done()) == (False, True)
        with pytest.raises(NotActing, match="handed over"):
            acts.begin("invite", "ses_1", "room")
        decided.set()
    acts.begin("invite", "ses_1", "room")


async def test_a_session_is_not_held_if_what_is_under_way_takes_too_long() -> None:
    acts, answered = RoomActs(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(act(acts, answered))
        await turns()
        with pytest.raises(TimeoutError):
            async with acts.held("ses_1", 0.01):
                pytest.fail("it is held")
        acts.begin("invite", "ses_1", "room")
        answered.set()
    async with acts.held("ses_1", PATIENCE):
        pass


async def test_a_session_is_held_once_at_a_time() -> None:
    acts, decided = RoomActs(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(acts, decided))
        await turns()
        with pytest.raises(TimeoutError):
            await hold(acts, decided)
        decided.set()


async def test_what_another_replica_has_to_do_is_refused_once_it_is_decided() -> None:
    owners, decided, answered = {"ses_1": "here"}, asyncio.Event(), asyncio.Event()
    answered.set()

    def fence_of(session_id: str) -> int:
        if owners[session_id] != "here":
            raise NotActing("another replica acts for this session")
        return 1

    acts = RoomActs(fence_of)
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(acts, decided))
        await turns()
        waiting = asyncio.create_task(act(acts, answered))
        await turns()
        owners["ses_1"] = "there"
        decided.set()
        with pytest.raises(NotActing, match="another replica"):
            await waiting
