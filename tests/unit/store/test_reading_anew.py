"""Stores of several replicas that missed changes, or whose Redis lost what it had."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from manager_agent.redis.connection import RedisAway
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.counters import LIVE
from manager_agent.store.store import RoomNameTaken
from manager_agent.store.stored_session import Ownership, StoredSession
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplica, StoreReplicas, a_session
from tests.unit.virtual_time import VirtualClock
from tests.unit.waits import until

pytestmark = pytest.mark.unit

REQUESTED = ev.RoomRequested(START)


async def caught_up(*replicas: StoreReplica) -> None:
    """Redis may be back only in a moment."""
    for replica in replicas:
        while True:
            with suppress(RedisAway):
                await replica.changelog.caught_up()
                break


@asynccontextmanager
async def a_write_lost(replicas: StoreReplicas, here: StoreReplica, there: StoreReplica) -> AsyncIterator[None]:
    """Redis has lost a write of `here`, which does not know that yet in the block; `there` never read it."""
    async with here.behind():
        async with there.behind():
            await here.store.update("ses_1", REQUESTED)
            replicas.server.restart()
        await caught_up(there)
        yield


def count_looks(replica: StoreReplica, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the replica has asked from now on what is stored of each session."""
    looks, read = Counter[str](), replica.store._scripts.read

    async def counted(session_ids: Sequence[str]) -> list[StoredSession | ValueError | None]:
        looks.update(session_ids)
        return await read(session_ids)

    monkeypatch.setattr(replica.store._scripts, "read", counted)
    return looks


# --- missed changes ---------------------------------------------------------------------------------


async def test_a_replica_that_missed_changes_is_told_the_differences(replicas: StoreReplicas) -> None:
    """The changelog is trimmed, so it is too far behind to read all of them."""
    here, there = await replicas.start(2)
    for number in range(4):
        await here.store.add(a_session(number))
    await there.changelog.caught_up()
    owners: list[tuple[str, Ownership | None, Ownership | None]] = []
    there.store.listen_to_owners(lambda *change: owners.append(change))
    before = len(there.told)
    async with there.behind():
        await here.store.update("ses_1", REQUESTED)
        await here.store.update("ses_1", ev.RoomCreated(START, "RM_1"))
        await here.store.remove("ses_2")
        await here.store.take("ses_3", expected=here.store.ownership("ses_3"), owner="other")
        await here.store.add(a_session(4))
        await here.connection.call("XTRIM", here.connection.keys.changes, "MAXLEN", 1)
    assert sorted((await there.sessions()), key=lambda one: one.session_id) == list(here.store.list())
    told = {change.session_id: change for change in there.told[before:]}
    assert len(told) == len(there.told) - before == 3
    assert told["ses_1"].after == here.store.get("ses_1")
    assert (told["ses_2"].after, told["ses_4"].before) == (None, None)
    assert all(change.is_remote for change in told.values())
    mine, others = Ownership(here.replica_id, 1), there.store.ownership("ses_3")
    assert others.owner == "other"
    expected = [("ses_4", None, mine), ("ses_2", mine, None), ("ses_3", mine, others)]
    assert sorted(owners, key=str) == sorted(expected, key=str)


async def test_own_writes_go_on_while_all_is_read_anew(replicas: StoreReplicas) -> None:
    """None of them is taken for something that Redis has lost."""
    here, there = await replicas.start(2)
    for number in range(300):
        await here.store.add(a_session(number))
    await there.changelog.caught_up()

    async def write() -> None:
        for number in range(300):
            await here.update(f"ses_{number}", REQUESTED)

    async with here.behind():
        await there.store.update("ses_1", ev.WebhookArrived(START))
        await here.connection.call("XTRIM", here.connection.keys.changes, "MAXLEN", 1)
    await asyncio.gather(write(), *(here.update(f"ses_{n}", ev.WebhookArrived(START)) for n in range(300)))
    await caught_up(here, there)
    for number in range(300):
        assert here.store.get(f"ses_{number}") == there.store.get(f"ses_{number}")
        assert here.store.get(f"ses_{number}").room.requested_at == START
        here.states_told(f"ses_{number}")


# --- lost data --------------------------------------------------------------------------------------


async def test_sessions_are_put_back_by_their_owners_when_redis_was_emptied(own_replicas: StoreReplicas) -> None:
    """With their state and owners, and as if nothing had happened."""
    started = await own_replicas.start(3, owners_first=60.0)
    for number in range(9):
        await started[number % 3].store.add(a_session(number))
    await caught_up(*started)
    told = [len(replica.told) for replica in started]
    own_replicas.server.restart()
    await caught_up(*started)
    await caught_up(*started)  # also with what the last one has put back
    later = await own_replicas.start_one()
    for replica in (*started, later):
        assert {one.session_id for one in await replica.sessions()} == {f"ses_{number}" for number in range(9)}
        assert replica.store.owners() == {one.replica_id: 3 for one in started}
        assert replica.store.counts.live == 9
    assert [len(replica.told) for replica in started] == told
    assert await started[0].connection.call("HGET", started[0].connection.keys.counters, LIVE) == b"9"
    for number, replica in enumerate(started):
        await replica.store.acting(f"ses_{number}").update(f"ses_{number}", REQUESTED)
    with pytest.raises(RoomNameTaken):
        await later.store.add(Session("another", "room-1", User("bob"), START, owner="shop"))


async def test_sessions_of_a_replica_that_is_gone_are_put_back_by_others(own_replicas: StoreReplicas) -> None:
    """Also with the last owner, so that they are taken over as usual."""
    gone = StoreReplica(own_replicas.server, VirtualClock())
    async with gone:
        (here,) = await own_replicas.start(1, owners_first=0.01)
        await gone.store.add(a_session())
        await here.changelog.caught_up()
    own_replicas.server.restart()
    later = await own_replicas.start_one()
    await caught_up(here)
    await until(lambda: list(later.store.list()), lambda found: found == [a_session()])
    assert later.store.ownership("ses_1") == here.store.ownership("ses_1") == Ownership(gone.replica_id, 1)
    assert len(here.told) == 1


async def test_the_latest_writes_are_put_back_when_redis_has_gone_back(own_replicas: StoreReplicas) -> None:
    """Another server goes on that did not have them yet."""
    here, there = await own_replicas.start(2)
    await here.store.add(a_session(1))
    await here.store.add(a_session(2))
    await there.changelog.caught_up()
    earlier = await own_replicas.server.saved()
    await here.store.update("ses_1", REQUESTED)
    await there.store.take("ses_2", expected=there.store.ownership("ses_2"), owner=there.replica_id)
    await here.store.add(a_session(3))
    await caught_up(here, there)
    taken = there.store.ownership("ses_2")
    told = len(here.told), len(there.told)
    async with here.behind(), there.behind():
        await own_replicas.server.go_back_to(earlier)
    await caught_up(here, there)
    await caught_up(here, there)
    for replica in (here, there):
        assert len(await replica.sessions()) == 3
        assert replica.store.get("ses_1").room.requested_at == START
        assert replica.store.ownership("ses_2") == taken
    assert (len(here.told), len(there.told)) == told
    await there.store.update("ses_3", REQUESTED)


async def test_no_two_owners_have_the_same_fence_although_redis_lost_a_take_over(own_replicas: StoreReplicas) -> None:
    """One takes the session, Redis forgets it, and another takes it before the first one knows. The later one is it."""
    here, there, other = await own_replicas.start(3)
    await here.store.add(a_session())
    await caught_up(there, other)
    earlier, former = await own_replicas.server.saved(), here.store.ownership("ses_1")
    mine = await there.take("ses_1", former)
    await asyncio.sleep(0.01)  # a server that goes on does so much later than within a millisecond
    async with there.behind():
        await own_replicas.server.go_back_to(earlier)
        await caught_up(other)
        others = await other.take("ses_1", former)
        assert there.store.ownership("ses_1") == mine
    await caught_up(here, there)
    await caught_up(here, there, other)
    assert former.fence < mine.fence < others.fence
    assert {replica.store.ownership("ses_1") for replica in (here, there, other)} == {others}


async def test_a_session_that_is_recovered_has_a_greater_fence_than_before(own_replicas: StoreReplicas) -> None:
    """Redis was emptied, and one that was frozen has still what it had."""
    here, there = await own_replicas.start(2)
    await here.store.add(a_session())
    await caught_up(there)
    before = await there.take("ses_1", here.store.ownership("ses_1"))
    async with there.behind(), here.behind():
        await own_replicas.server.flush()
        later = await own_replicas.start_one()
        await later.store.restore(a_session())
        assert later.store.ownership("ses_1").fence > before.fence
    await caught_up(here, there)
    assert there.store.ownership("ses_1") == here.store.ownership("ses_1") == later.store.ownership("ses_1")
    assert later.store.owns("ses_1")


@pytest.mark.parametrize("is_owner", [True, False])
@pytest.mark.parametrize("others_write", [True, False])
async def test_a_lost_write_that_no_entry_tells_of_is_found(
    own_replicas: StoreReplicas, is_owner: bool, others_write: bool
) -> None:
    """It was answered, and lost before its entry was read. It is put back, unless others have written since and the
    session is theirs."""
    here, there = await own_replicas.start(2, owners_first=0.05)
    owner = here if is_owner else there
    await owner.store.add(a_session())
    await caught_up(here, there)
    earlier = await own_replicas.server.saved()
    async with here.behind(), there.behind():
        await here.store.update("ses_1", REQUESTED)
        await own_replicas.server.go_back_to(earlier)
        if others_write:
            await there.store.update("ses_1", ev.WebhookArrived(START))
    await here.store.update("ses_1", ev.RoomCreated(START + 1, "RM_1"))
    await caught_up(here, there)
    assert here.store.get("ses_1") == there.store.get("ses_1")
    assert here.store.get("ses_1").room.sid == ("RM_1" if is_owner or not others_write else "")


async def test_a_replica_that_is_behind_leaves_it_to_the_owner_to_put_a_session_back(
    own_replicas: StoreReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its write follows all that was acknowledged, although the owner comes later to put that back."""
    here, there = await own_replicas.start(2, owners_first=60.0)
    await here.store.add(a_session())
    await caught_up(here, there)
    async with a_write_lost(own_replicas, here, there):
        looks = count_looks(there, monkeypatch)
        writing = asyncio.create_task(there.store.update("ses_1", ev.WebhookArrived(START)))
        await until(lambda: looks["ses_1"], lambda count: count >= 3)
    session = await writing
    await caught_up(here, there)
    assert (session.room.requested_at, session.webhooks_arrive) == (START, True)
    assert here.store.get("ses_1") == there.store.get("ses_1") == session
    assert here.states_told("ses_1") == there.states_told("ses_1")


async def test_a_write_that_its_owner_did_not_know_is_put_back_too(own_replicas: StoreReplicas) -> None:
    """At once, although the owner has put the session back already."""
    here, there = await own_replicas.start(2, owners_first=60.0)
    await there.store.add(a_session())
    await caught_up(here, there)
    async with a_write_lost(own_replicas, here, there):
        assert there.store.get("ses_1").room.requested_at is None
    await caught_up(here)
    await until(lambda: there.store.get("ses_1").room.requested_at)
    await caught_up(here, there)
    assert here.states_told("ses_1") == there.states_told("ses_1")


async def test_a_session_whose_removal_was_lost_is_known_again(own_replicas: StoreReplicas) -> None:
    here, there = await own_replicas.start(2)
    await there.store.add(a_session())
    await caught_up(here, there)
    earlier = await own_replicas.server.saved()
    async with here.behind(), there.behind():
        await here.store.remove("ses_1")
        await own_replicas.server.go_back_to(earlier)
    await there.store.update("ses_1", REQUESTED)
    await here.changelog.caught_up()
    await until(lambda: [one.room.requested_at for one in here.store.list()], lambda found: found == [START])
    here.states_told("ses_1")
