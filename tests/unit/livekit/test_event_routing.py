"""Where native events go: those of a room to that room alone, and none that a participant can cause in any number."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.rtc import _ffi_client
from livekit.rtc._proto.ffi_pb2 import FfiEvent, FfiRequest
from livekit.rtc._proto.handle_pb2 import FfiOwnedHandle
from livekit.rtc._proto.room_pb2 import RoomEvent
from livekit.rtc._utils import Queue

from manager_agent.livekit.event_routing import RoutedQueue, route_events
from manager_agent.livekit.participant_budget import BURST, ParticipantBudget
from manager_agent.messages import RpcFault
from tests.unit.waits import let_others_run

pytestmark = pytest.mark.unit

KINDS = [field.name for field in RoomEvent.DESCRIPTOR.oneofs_by_name["message"].fields]
BUDGETED = {"data_packet_received", "participant_attributes_changed"}
CAUSED_BY_JOINING_OR_US = {
    *("participant_connected", "participant_active", "participant_disconnected", "room_sid_changed", "room_updated"),
    *("connection_state_changed", "reconnecting", "reconnected", "disconnected", "moved", "token_refreshed", "eos"),
}
OURS, PARTICIPANT = 100, 1_000
"""The handle of the first room, and how far its local participant's is from it."""


class RecordingFfiClient:
    """The SDK's client, except that it records what the native library is asked for."""

    def __init__(self) -> None:
        self._queue: _ffi_client.FfiQueue[FfiEvent] = _ffi_client.FfiQueue()
        self._ffi_lib = SimpleNamespace(livekit_ffi_drop_handle=lambda handle: self.released.append(handle.value))
        self.released: list[int] = []
        self.requests: list[FfiRequest] = []

    @property
    def queue(self) -> _ffi_client.FfiQueue[FfiEvent]:
        return self._queue

    def request(self, request: FfiRequest) -> None:
        self.requests.append(request)

    def connected_room(self, handle: int = OURS) -> Any:
        """A room as the SDK leaves it after connect()."""
        participant = SimpleNamespace(_ffi_handle=SimpleNamespace(handle=handle + PARTICIPANT))
        return SimpleNamespace(
            _ffi_handle=SimpleNamespace(handle=handle),
            _ffi_queue=self.queue.subscribe(asyncio.get_running_loop()),
            _loop=asyncio.get_running_loop(),
            local_participant=participant,
        )

    def watched_room(self, handle: int = OURS) -> Any:
        """Time stands still for it: no participant may send more than the burst."""
        room = self.connected_room(handle)
        route_events(room, "ours", ParticipantBudget(clock=lambda: 0.0))
        return room


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> RecordingFfiClient:
    client = RecordingFfiClient()
    monkeypatch.setattr(_ffi_client, "FfiClient", SimpleNamespace(instance=client))
    return client


def of_room(kind: str, room: int = OURS) -> FfiEvent:
    event = FfiEvent()
    event.room_event.room_handle = room
    getattr(event.room_event, kind).SetInParent()
    if kind == "data_packet_received":
        event.room_event.data_packet_received.participant_identity = "mallory"
        event.room_event.data_packet_received.user.topic = "ours"
    return event


def rpc(room: int = OURS, invocation: int = 1, caller: str = "mallory") -> FfiEvent:
    event = FfiEvent()
    event.rpc_method_invocation.local_participant_handle = room + PARTICIPANT
    event.rpc_method_invocation.invocation_id = invocation
    event.rpc_method_invocation.caller_identity = caller
    return event


def outcome() -> FfiEvent:
    """The outcome of a request, for which a call of the SDK waits."""
    event = FfiEvent()
    event.connect.async_id = 7
    return event


async def delivered(*queues: Queue[FfiEvent]) -> list[list[FfiEvent]]:
    """What is in each queue by now."""
    await let_others_run()
    return [[queue.get_nowait() for _ in range(queue.qsize())] for queue in queues]


@pytest.mark.parametrize("kind", KINDS)
async def test_flood_of_any_kind_of_event_reaches_the_loop_only_within_the_budget(
    kind: str, client: RecordingFfiClient
) -> None:
    room = client.watched_room()
    for _ in range(500):
        client.queue.put(of_room(kind))
    [events] = await delivered(room._ffi_queue)
    if kind in CAUSED_BY_JOINING_OR_US:
        assert len(events) == 500
    else:
        assert len(events) == (BURST if kind in BUDGETED else 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_dropped_event_releases_the_native_object_that_it_holds(kind: str, client: RecordingFfiClient) -> None:
    """Found in the protocol, so that a new kind of event with an object is noticed."""
    room, event, handles = client.watched_room(), of_room(kind), 0
    if kind == "data_packet_received":
        event.room_event.data_packet_received.user.topic = "another"
    for handle in _handles(getattr(event.room_event, kind)):
        handle.id, handles = 7, handles + 1
    client.queue.put(event)
    [events] = await delivered(room._ffi_queue)
    assert client.released == ([] if events else [7] * handles)


def _handles(message: object, depth: int = 0) -> list[FfiOwnedHandle]:
    if isinstance(message, FfiOwnedHandle):
        return [message]
    fields = message.DESCRIPTOR.fields if depth < 4 else ()  # type: ignore[attr-defined]
    inner = [getattr(message, field.name) for field in fields if field.message_type is not None]
    return [handle for one in inner if hasattr(one, "DESCRIPTOR") for handle in _handles(one, depth + 1)]


async def test_rpcs_that_are_too_many_are_answered_and_never_reach_the_loop(client: RecordingFfiClient) -> None:
    room = client.watched_room()
    for number in range(int(BURST) + 2):
        client.queue.put(rpc(invocation=number))
    client.queue.put(rpc(invocation=900, caller="asr"))
    [events] = await delivered(room._ffi_queue)
    assert [event.rpc_method_invocation.invocation_id for event in events] == [*range(int(BURST)), 900]
    answers = [request.rpc_method_invocation_response for request in client.requests]
    assert [(answer.local_participant_handle, answer.invocation_id, answer.error.code) for answer in answers] == [
        (OURS + PARTICIPANT, int(BURST), RpcFault.TOO_MANY),
        (OURS + PARTICIPANT, int(BURST) + 1, RpcFault.TOO_MANY),
    ]


@pytest.mark.parametrize("make", [lambda room: of_room("participant_connected", room), rpc])
async def test_event_of_one_room_goes_to_no_other_subscriber(
    make: Callable[[int], FfiEvent], client: RecordingFfiClient
) -> None:
    first, second = client.watched_room(OURS), client.watched_room(OURS + 1)
    joining, waiting = client.connected_room(OURS + 2)._ffi_queue, client.queue.subscribe()
    client.queue.put(make(OURS))
    client.queue.put(make(OURS + 1))
    found = await delivered(first._ffi_queue, second._ffi_queue, joining, waiting)
    assert found == [[make(OURS)], [make(OURS + 1)], [], []]


async def test_events_of_rooms_without_a_route_and_outcomes_go_to_all_other_subscribers(
    client: RecordingFfiClient,
) -> None:
    """Also to those that subscribed before the first room had a route, each by its own filter."""
    before, picky = client.queue.subscribe(), client.queue.subscribe(filter_fn=lambda event: event.HasField("connect"))
    room = client.watched_room()
    after = client.queue.subscribe()
    events = [outcome(), of_room("data_packet_received", OURS + 5), rpc(OURS + 5)]
    for event in events:
        client.queue.put(event)
    assert await delivered(before, picky, after, room._ffi_queue) == [events, events[:1], events, []]
    assert client.released == []


async def test_room_that_ends_loses_its_route_and_nothing_is_kept_of_it(client: RecordingFfiClient) -> None:
    room, other = client.watched_room(), client.watched_room(OURS + 1)
    client.queue.unsubscribe(room._ffi_queue)
    client.queue.unsubscribe(room._ffi_queue)  # the SDK does it more than once
    client.queue.put(of_room("eos"))
    client.queue.put(of_room("eos", OURS + 1))
    assert await delivered(room._ffi_queue, other._ffi_queue) == [[], [of_room("eos", OURS + 1)]]
    client.queue.unsubscribe(other._ffi_queue)
    queue = client.queue
    assert isinstance(queue, RoutedQueue)
    assert (queue._rooms, queue._participants, queue._handles, queue._subscribers) == ({}, {}, {}, [])


async def test_other_subscribers_come_and_go_as_before(client: RecordingFfiClient) -> None:
    client.watched_room()
    waiting = client.queue.subscribe()
    client.queue.unsubscribe(waiting)
    client.queue.put(outcome())
    assert await delivered(waiting) == [[]]


async def test_a_thread_in_put_of_the_replaced_queue_excludes_changes_of_the_subscribers(
    client: RecordingFfiClient,
) -> None:
    replaced = client.queue
    client.watched_room()
    assert client.queue is not replaced
    assert (client.queue._lock, client.queue._subscribers) == (replaced._lock, replaced._subscribers)


async def test_closed_event_loop_is_no_error_in_the_native_thread(client: RecordingFfiClient) -> None:
    room = client.connected_room()
    room._loop = asyncio.new_event_loop()
    room._loop.close()
    route_events(room, "ours", ParticipantBudget())
    client.queue.put(of_room("participant_connected"))


@pytest.mark.parametrize("is_event", [True, False])
async def test_native_thread_that_brought_an_event_keeps_its_thread_state(
    is_event: bool, client: RecordingFfiClient
) -> None:
    """Else the interpreter allocates it anew for each event. It goes with the values that are local to the thread."""
    client.watched_room()
    local, values = threading.local(), []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def call_back(_: object) -> None:
        local.value = threading.Event()
        values.append(weakref.ref(local.value))
        if is_event:
            client.queue.put(outcome())

    libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, call_back, None) == 0
    assert libc.pthread_join(thread, None) == 0
    [value] = values
    assert (value() is not None) is is_event
