"""Rooms that LiveKit is asked to delete while it is busy, or does not know which node has them."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from livekit import api

from manager_agent.livekit.calls import NO_NODE, LiveKitBusy
from manager_agent.livekit.server_api import TAKEN_UP_TIMEOUT, Rooms
from tests.running_rooms import rooms_at

pytestmark = pytest.mark.unit

NAME, SID = "left", "RM_1"
NODE_UNKNOWN = api.ServerError("internal", NO_NODE, status=HTTPStatus.INTERNAL_SERVER_ERROR)
BUSY = api.ServerError("unavailable", "no response from servers", status=HTTPStatus.SERVICE_UNAVAILABLE)


class DeletingLiveKit:
    """Lists one room, and fails to delete it a number of times."""

    def __init__(self, *failures: api.ServerError, sid_when_created: str = SID) -> None:
        self._failures, self._sid_when_created = list(failures), sid_when_created
        self.room = self
        self.created: list[api.CreateRoomRequest] = []
        self.deletions = 0

    async def list_rooms(self, asked: api.ListRoomsRequest) -> api.ListRoomsResponse:
        return api.ListRoomsResponse(rooms=[api.Room(name=name, sid=SID) for name in asked.names])

    async def create_room(self, asked: api.CreateRoomRequest) -> api.Room:
        self.created.append(asked)
        return api.Room(name=asked.name, sid=self._sid_when_created)

    async def delete_room(self, _: api.DeleteRoomRequest) -> None:
        self.deletions += 1
        if self._failures:
            raise self._failures.pop(0)


async def delete_at(livekit: DeletingLiveKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rooms, "_livekit", livekit)
    await rooms_at("ws://127.0.0.1:1").delete(NAME, sid=SID, session_id="")


@pytest.mark.parametrize("failure", [NODE_UNKNOWN, BUSY], ids=["node unknown", "busy"])
async def test_a_room_is_given_a_node_and_deleted(failure: api.ServerError, monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = DeletingLiveKit(failure)
    await delete_at(livekit, monkeypatch)
    assert livekit.created == [api.CreateRoomRequest(name=NAME, empty_timeout=TAKEN_UP_TIMEOUT)]
    assert livekit.deletions == 2


async def test_a_room_that_is_another_stays_and_one_made_by_us_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion was carried out although it failed: the name was free, or another's already."""
    livekit = DeletingLiveKit(BUSY, sid_when_created="RM_2")
    await delete_at(livekit, monkeypatch)
    assert [asked.empty_timeout for asked in livekit.created] == [TAKEN_UP_TIMEOUT]
    assert livekit.deletions == 1


async def test_a_room_that_can_not_be_deleted_then_either_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    livekit = DeletingLiveKit(NODE_UNKNOWN, NODE_UNKNOWN)
    with pytest.raises(LiveKitBusy):
        await delete_at(livekit, monkeypatch)
    assert livekit.deletions == 2
