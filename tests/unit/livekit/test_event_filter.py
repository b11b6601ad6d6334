"""Which events of a room reach the event loop: none that a participant can cause in any number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from livekit.rtc import _ffi_client
from livekit.rtc._proto.handle_pb2 import FfiOwnedHandle
from livekit.rtc._proto.room_pb2 import RoomEvent

from manager_agent.livekit import ffi, participant_budget
from manager_agent.livekit.participant_budget import BURST, ParticipantBudget

pytestmark = pytest.mark.unit

KINDS = [field.name for field in RoomEvent.DESCRIPTOR.oneofs_by_name["message"].fields]
BUDGETED = {"data_packet_received", "participant_attributes_changed"}
CAUSED_BY_JOINING_OR_US = {
    *("participant_connected", "participant_active", "participant_disconnected", "room_sid_changed", "room_updated"),
    *("connection_state_changed", "reconnecting", "reconnected", "disconnected", "moved", "token_refreshed", "eos"),
}


class Library:
    """Records the handles that are released, in place of the native library."""

    def __init__(self) -> None:
        self.dropped: list[int] = []

    def livekit_ffi_drop_handle(self, handle: object) -> None:
        self.dropped.append(handle.value)  # type: ignore[attr-defined]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    client = SimpleNamespace(instance=SimpleNamespace(_ffi_lib=library))
    monkeypatch.setattr(_ffi_client, "FfiClient", client)
    return library


def an_event(kind: str) -> RoomEvent:
    event = RoomEvent()
    getattr(event, kind).SetInParent()
    if kind == "data_packet_received":
        event.data_packet_received.participant_identity = "mallory"
        event.data_packet_received.user.topic = "ours"
    return event


@pytest.mark.parametrize("kind", KINDS)
def test_flood_of_any_kind_of_event_reaches_the_loop_only_within_the_budget(
    kind: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participant_budget, "time", SimpleNamespace(monotonic=lambda: 0.0))
    budget = ParticipantBudget()
    delivered = sum(ffi._is_wanted(an_event(kind), "ours", budget) for _ in range(500))
    if kind in CAUSED_BY_JOINING_OR_US:
        assert delivered == 500
    else:
        assert delivered == (BURST if kind in BUDGETED else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_event_releases_the_native_object_that_it_holds(kind: str, library: Library) -> None:
    """Found in the protocol, so that a new kind of event with an object is noticed."""
    event, handles = an_event(kind), 0
    if kind == "data_packet_received":
        event.data_packet_received.user.topic = "another"
    for handle in _handles(getattr(event, kind)):
        handle.id, handles = 7, handles + 1
    if not ffi._is_wanted(event, "ours", ParticipantBudget()):
        assert library.dropped == [7] * handles


def _handles(message: object, depth: int = 0) -> list[FfiOwnedHandle]:
    if isinstance(message, FfiOwnedHandle):
        return [message]
    fields = message.DESCRIPTOR.fields if depth < 4 else ()  # type: ignore[attr-defined]
    inner = [getattr(message, field.name) for field in fields if field.message_type is not None]
    return [handle for one in inner if hasattr(one, "DESCRIPTOR") for handle in _handles(one, depth + 1)]
