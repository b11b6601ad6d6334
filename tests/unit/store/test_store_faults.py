"""Stores of several replicas whose Redis is away, or has what this program can't read."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from manager_agent.redis.connection import RedisAway
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.store import Change, RoomNameTaken, SessionUnreadable
from tests.unit.sessions import START
from tests.unit.store.replicas import StoreReplica, StoreReplicas, a_session

pytestmark = pytest.mark.unit

REQUESTED = ev.RoomRequested(START)


# --- Redis is away ----------------------------------------------------------------------------------


async def test_nothing_can_be_written_while_redis_is_away(own_replicas: StoreReplicas) -> None:
    """What is known can be read."""
    here = await own_replicas.start_one()
    await here.store.add(a_session())
    own_replicas.server.stop()
    with pytest.raises(RedisAway):
        await here.store.add(a_session(2))
    with pytest.raises(RedisAway):
        await here.store.update("ses_1", REQUESTED)
    with pytest.raises(RedisAway):
        await here.store.remove("ses_1")
    with pytest.raises(RedisAway):
        await here.store.take("ses_1", expected=here.store.ownership("ses_1"), owner="other")
    assert list(here.store.list()) == [a_session()]
    assert here.store.owns("ses_1")
    assert len(here.told) == 1


# --- forms ------------------------------------------------------------------------------------------


async def test_a_session_of_a_newer_program_is_left_alone(replicas: StoreReplicas) -> None:
    """Until it can be read again. Its room name stays taken."""
    here, there = await replicas.start(2)
    await here.store.add(a_session(1))
    await here.store.add(a_session(2))
    await there.changelog.caught_up()
    told: list[Change] = []
    there.store.listen(told.append)
    waiting = asyncio.create_task(there.store.wait_for("ses_1", lambda _: False))
    with capture_logs() as logs:
        await write_form(here, "ses_1", b'2.{"of":"the future"}')
        assert await there.sessions() == [a_session(2)]
    assert [(entry["event"], entry["session_id"]) for entry in logs] == [("session_unreadable", "ses_1")] * 2
    assert list(there.store.unreadable) == ["ses_1"]
    assert there.store.unreadable["ses_1"].stored.room_name == "room-1"
    assert (told[-1].after, told[-1].is_remote) == (None, True)
    for change in (
        there.store.update("ses_1", REQUESTED),
        there.store.remove("ses_1"),
        there.store.restore(a_session(1)),
    ):
        with pytest.raises(SessionUnreadable):
            await change
    with pytest.raises(SessionUnreadable):
        await waiting
    with pytest.raises(RoomNameTaken):
        await there.store.add(Session("another", "room-1", User("bob"), START))
    assert await there.connection.call("HGET", there.connection.keys.session("ses_1"), "b") == b'2.{"of":"the future"}'
    later = await replicas.start_one()
    assert list(later.store.unreadable) == ["ses_1"]
    await write_form(here, "ses_1", await form_of(here, "ses_2"))
    assert not (await there.sessions() and there.store.unreadable)


async def form_of(replica: StoreReplica, session_id: str) -> bytes:
    form: bytes = await replica.connection.call("HGET", replica.connection.keys.session(session_id), "b")
    return form


async def write_form(replica: StoreReplica, session_id: str, form: bytes) -> None:
    """Another program writes this."""
    keys, call = replica.connection.keys, replica.connection.call
    version = 1 + int(await call("HGET", keys.session(session_id), "v"))
    await call("HSET", keys.session(session_id), "b", form, "v", version, "w", "other")
    fields = ("id", session_id, "v", version, "o", "newer", "f", 1, "w", "other", "n", "room-1", "b", form)
    await call("XADD", keys.changes, "*", "k", "session", *fields)
