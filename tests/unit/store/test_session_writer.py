"""What becomes of the writes of replicas whose answers are lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from manager_agent.redis.connection import RedisAway
from manager_agent.session import events as ev
from manager_agent.store.store import RoomNameTaken, UnknownSession
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplica, StoreReplicas, a_session

pytestmark = pytest.mark.unit

REQUESTED = ev.RoomRequested(START)


@pytest.mark.parametrize(("lost_answers", "lost_writes"), [(1, 0), (2, 0), (0, 1), (0, 2), (1, 1)])
async def test_a_write_whose_answer_is_lost_has_effect_once(
    replicas: StoreReplicas, lost_answers: int, lost_writes: int
) -> None:
    here, there = await replicas.start(2)

    def lose() -> None:
        here.connection.lost_answers, here.connection.lost_writes = lost_answers, lost_writes

    lose()
    await here.store.add(a_session())
    lose()
    session = await here.store.update("ses_1", REQUESTED)
    assert session.room.requested_at == START
    await there.changelog.caught_up()
    assert there.states_told("ses_1") == here.states_told("ses_1")
    assert [(change.event, change.is_remote) for change in here.told] == [(None, False), (REQUESTED, False)]
    lose()
    await here.store.remove("ses_1")
    assert await there.sessions() == await here.sessions() == []
    assert len(there.told) == len(here.told) == 3


async def test_a_write_that_stays_uncertain_is_told_when_it_turns_out(replicas: StoreReplicas) -> None:
    """The caller is told that it may have had effect."""
    here, there = await replicas.start(2)
    await here.store.add(a_session())
    here.connection.lost_writes = 3
    with pytest.raises(RedisAway) as caught:
        await here.store.update("ses_1", REQUESTED)
    assert caught.value.is_uncertain
    assert len(await here.sessions()) == len(here.told) == 1
    await there.changelog.caught_up()
    await there.store.update("ses_1", ev.WebhookArrived(START))
    assert (await here.store.update("ses_1", REQUESTED)).webhooks_arrive
    assert [change.event for change in here.told] == [None, None, REQUESTED]


@pytest.mark.parametrize("is_carried_out", [True, False])
async def test_a_write_is_uncertain_while_what_came_of_it_cannot_be_read(
    replicas: StoreReplicas, is_carried_out: bool
) -> None:
    """Once that can be read, it is told as this replica's, and has had effect once."""
    here = await replicas.start_one()
    await here.store.add(a_session())

    async def cut_off(write: Awaitable[object]) -> None:
        here.connection.is_cut = True
        here.connection.lost_answers, here.connection.lost_writes = int(is_carried_out), int(not is_carried_out)
        with pytest.raises(RedisAway) as caught:
            await write
        assert caught.value.is_uncertain
        here.connection.is_cut = False

    await cut_off(here.store.update("ses_1", REQUESTED))
    assert (await here.store.update("ses_1", REQUESTED)).room.requested_at == START
    assert [change.event for change in here.told] == [None, REQUESTED]
    await cut_off(here.store.remove("ses_1"))
    await here.changelog.caught_up()
    with suppress(UnknownSession):
        await here.store.remove("ses_1")
    assert [change.after for change in here.told[2:]] == [None]
    assert not any(change.is_remote for change in here.told)


async def test_an_update_that_is_cancelled_on_its_way_is_told_with_its_event(replicas: StoreReplicas) -> None:
    here = await replicas.start_one()
    await here.store.add(a_session())
    updating = asyncio.create_task(here.store.update("ses_1", REQUESTED))
    while not here.store._sessions.is_being_written("ses_1"):
        await asyncio.sleep(0)
    updating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await updating
    session = await here.store.update("ses_1", ev.WebhookArrived(START))
    assert session.webhooks_arrive
    assert not any(change.is_remote for change in here.told)


@pytest.mark.parametrize("seed", range(12))
async def test_replicas_agree_whatever_answers_were_lost(replicas: StoreReplicas, seed: int) -> None:
    """And none is told of a change twice."""
    chance = random.Random(seed)
    started = await replicas.start(3)

    async def live(replica: StoreReplica, dice: random.Random) -> None:
        for step in range(15):
            session_id = f"ses_{dice.randrange(3)}"
            lost = dice.choice([(0, 0), (1, 0), (0, 1), (2, 0), (1, 2)])
            replica.connection.lost_answers, replica.connection.lost_writes = lost
            with suppress(RedisAway, RoomNameTaken, UnknownSession):
                match dice.randrange(6):
                    case 0 | 1:
                        await replica.store.add(a_session(int(session_id[-1])))
                    case 2:
                        await replica.store.remove(session_id)
                    case _:
                        created = ev.RoomCreated(START + step, "RM_1")
                        events: list[ev.Event] = [REQUESTED, ev.WebhookArrived(START), created]
                        event = dice.choice(events)
                        await replica.store.update(session_id, event)

    await asyncio.gather(*(live(replica, random.Random(chance.random())) for replica in started))
    for replica in started:
        replica.connection.lost_answers = replica.connection.lost_writes = 0
    kept = [{one.session_id: one for one in await replica.sessions()} for replica in started]
    assert kept[0] == kept[1] == kept[2]
    told = [[replica.states_told(f"ses_{number}") for number in range(3)] for replica in started]
    assert told[0] == told[1] == told[2]
    local = [change for replica in started for change in replica.told if not change.is_remote]
    assert len(local) == sum(map(len, told[0]))
