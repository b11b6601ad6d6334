"""What a round does while LiveKit fails or hangs for some rooms."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.reconcile import Reconciler
from manager_agent.control.recovery import Recovery
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.server_api import Rooms
from manager_agent.session import events as ev
from manager_agent.session.transitions import CLEAN_UP_PAUSE
from manager_agent.store.memory import MemoryStore
from tests.always_acting import always_acting
from tests.unit import sessions as given
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

DEAD, OTHER = ListedRoom("dead", "RM_1", "ses_1", is_ours=True), ListedRoom("other", "RM_2", "ses_2", is_ours=True)
FOREIGN = ListedRoom("lobby", "RM_3", "", is_ours=False)


class FaultyRooms:
    """LiveKit hangs when it is to delete the first room, until another one is deleted, and fails for its
    participants."""

    def __init__(self) -> None:
        self.deleted, self.looked_at = asyncio.Event(), list[str]()

    async def list_rooms(self) -> list[ListedRoom]:
        return [DEAD, OTHER, FOREIGN]

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        if room_name == DEAD.name:
            await self.deleted.wait()
            raise LiveKitUnavailable("broken")
        self.deleted.set()

    async def remove_old_token_holders(self, room: ListedRoom) -> list[str]:
        self.looked_at.append(room.name)
        if room is DEAD:
            raise LiveKitUnavailable("broken")
        return []


class KnownRooms:
    """Every room's session is known, and over."""

    def is_known(self, _: ListedRoom) -> bool:
        return True

    def is_unreadable(self, _: ListedRoom) -> bool:
        return False

    def listed(self, _: object) -> None: ...


class UnreadableRooms(KnownRooms):
    """No room can be read."""

    def __init__(self) -> None:
        self.read = list[str]()

    def is_known(self, _: ListedRoom) -> bool:
        return False

    def is_unreadable(self, _: ListedRoom) -> bool:
        return True

    async def recover(self, room: ListedRoom) -> None:
        self.read.append(room.name)


def reconciler_of(store: MemoryStore, rooms: FaultyRooms, recovery: object = None) -> Reconciler:
    return Reconciler(
        store=store,
        rooms=cast(Rooms, rooms),
        missed_rooms=MissedRooms(),
        recovery=cast(Recovery, recovery or KnownRooms()),
        acting=always_acting(),
        clock=lambda: START,
    )


async def test_room_for_which_livekit_hangs_or_fails_keeps_no_other_waiting() -> None:
    rooms = FaultyRooms()
    reconciler = reconciler_of(MemoryStore(lambda: START), rooms)
    for _ in range(2):  # a room is not deleted when it is first listed
        await reconciler.round()
    assert rooms.looked_at == [room.name for room in (DEAD, OTHER, FOREIGN)] * 2


async def test_unreadable_rooms_are_read_again_in_every_round_and_not_deleted() -> None:
    rooms, recovery = FaultyRooms(), UnreadableRooms()
    reconciler = reconciler_of(MemoryStore(lambda: START), rooms, recovery)
    for _ in range(2):
        await reconciler.round()
    assert recovery.read == [DEAD.name, OTHER.name] * 2
    assert not rooms.deleted.is_set()


async def test_room_of_an_ended_session_counts_as_undeletable_until_it_is_deleted() -> None:
    store = MemoryStore(lambda: START)
    reconciler = reconciler_of(store, FaultyRooms())
    session = given.after(given.a_session(), *given.created())
    await store.add(session)
    counts = []
    for event in (
        ev.SessionClosed(START + 1),
        ev.CleanUpStarted(START + 1),
        ev.CleanUpFailed(START + 2),
        ev.CleanUpStarted(START + 2 + CLEAN_UP_PAUSE),
        ev.CleanedUp(START + 3 + CLEAN_UP_PAUSE),
    ):
        await store.update(session.session_id, event)
        counts.append(reconciler.undeletable)
    assert counts == [0, 0, 1, 1, 0]
