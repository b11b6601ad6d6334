"""What runs in the background waits while Redis is away."""

from __future__ import annotations

from typing import Any

import pytest

from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.replicas.patient_store import BEGINNINGS, PatientStore
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Change
from tests.unit import sessions as given
from tests.unit.sessions import START


class FailingStore(MemoryStore):
    """Fails so often, before or after it has done what it was asked for."""

    def __init__(self, failures: int, *, is_uncertain: bool = False) -> None:
        super().__init__(lambda: START)
        self.failures, self.is_uncertain = failures, is_uncertain

    async def change(self, session_id: str, event: ev.Event) -> Change:
        if self.failures > 0 and self.is_uncertain:
            await super().change(session_id, event)
        self._fail()
        return await super().change(session_id, event)

    async def remove(self, session_id: str) -> None:
        self._fail()
        await super().remove(session_id)

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        self._fail()
        await super().restore(session, recorded_revision)

    def _fail(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise RedisAway("away", is_uncertain=self.is_uncertain)


async def a_store(failures: int, **more: Any) -> PatientStore:
    store = FailingStore(0, **more)
    await store.add(given.a_session(given.JOINS))
    store.failures = failures
    return PatientStore(store, pause=0.0)


@pytest.mark.parametrize("is_uncertain", [False, True])
async def test_what_was_observed_is_recorded_once_redis_is_back(is_uncertain: bool) -> None:
    store = await a_store(3, is_uncertain=is_uncertain)
    assert (await store.update("s1", ev.WebhookArrived(START))).webhooks_arrive


async def test_an_action_begins_once_redis_is_back() -> None:
    store = await a_store(3)
    assert (await store.update("s1", ev.RoomRequested(START))).room.in_flight


async def test_an_action_whose_beginning_may_be_recorded_is_not_begun() -> None:
    """It could be under way already."""
    store = await a_store(1, is_uncertain=True)
    with pytest.raises(NotActing):
        await store.update("s1", ev.RoomRequested(START))


async def test_sessions_are_removed_and_restored_once_redis_is_back() -> None:
    store = await a_store(2)
    await store.remove("s1")
    assert list(store.list()) == []
    store = await a_store(2)
    await store.restore(given.a_session(given.JOINS))
    assert store.get("s1").session_id == "s1"


def test_every_event_that_must_not_be_recorded_twice_counts_as_a_beginning() -> None:
    """Those of which the control loop does nothing if the session does not change."""
    assert {kind.__name__ for kind in BEGINNINGS} == {
        *("RoomRequested", "ManagerDispatched", "InviteStarted", "RemovalStarted", "ListingStarted", "CleanUpStarted"),
    }
