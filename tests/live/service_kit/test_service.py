"""Services written with the kit, in real rooms with a fake manager."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from livekit import api, rtc

from examples import asr_service, llm_service, tts_service
from http_api.connections import close_server
from manager_agent.livekit.room_connection import connect
from manager_agent.messages import Invite, RoomStatus, ServiceMessage, SessionState, Signal
from scripts.livekit_server import LiveKitServer
from service_kit import Service, SessionJob
from service_kit.conformance.fake_manager import FakeManager, HeardSignal
from service_kit.conformance.scenario import session_ended
from tests.live.bots import CONNECT_TIMEOUT
from tests.live.conftest import KEY, SECRET, Site
from tests.manager_stand_in import ManagerStandIn, invite, invited_session
from tests.waiting import described, eventually, waiting_for

pytestmark = pytest.mark.live

MANAGER, NEXT_MANAGER = "sm-manager-1", "sm-manager-2"
SERVICE_IDENTITY = "sm-asr-service-1"
SERVICE_IDENTITIES = tuple(f"sm-{module.service.service_id}-1" for module in (asr_service, llm_service, tts_service))

HEARD_WITHIN = 60.0
"""Seconds: enough for a busy machine."""

T = TypeVar("T")


async def in_time(wanted: str, work: Awaitable[T], seen: Callable[[], object]) -> T:
    async with waiting_for(wanted, seen):
        return await work


class Manager(FakeManager):
    """A manager in the room from which a test takes one acknowledged signal after the other."""

    _taken = 0

    async def hears(self) -> ServiceMessage:
        """The next signal that it acknowledges."""
        assert await self._has_next(HEARD_WITHIN), self.heard
        self._taken += 1
        return self._acknowledged[self._taken - 1].message

    async def hears_nothing_for(self, seconds: float) -> bool:
        return not await self._has_next(seconds)

    @property
    def _acknowledged(self) -> list[HeardSignal]:
        return [heard for heard in self.heard if heard.acknowledged]

    async def _has_next(self, seconds: float) -> bool:
        return await self.until(lambda: len(self._acknowledged) > self._taken, seconds)


class KitRoom:
    """A room with a fake manager over HTTP and in the room, and methods to invite services into it."""

    def __init__(self, server: LiveKitServer, livekit: api.LiveKitAPI, http: ManagerStandIn) -> None:
        self.server, self.livekit, self.http = server, livekit, http
        self.room_name = f"kit-{uuid.uuid4()}"
        self._managers: list[Manager] = []

    async def open(self) -> None:
        await self.livekit.room.create_room(api.CreateRoomRequest(name=self.room_name, metadata=status(MANAGER)))

    async def aclose(self) -> None:
        for manager in self._managers:
            await manager.leave()
        with suppress(api.ServerError):  # a test may have deleted it
            await self.delete_room()

    async def delete_room(self) -> None:
        await self.livekit.room.delete_room(api.DeleteRoomRequest(room=self.room_name))

    async def send_manager(self, identity: str = MANAGER, *, ignoring: int = 0) -> Manager:
        manager = Manager(*SERVICE_IDENTITIES, ignoring=ignoring)
        self._managers.append(manager)
        await manager.enter(identity, self.server.url, self.token(identity, hidden=True))
        return manager

    async def show_manager(self, identity: str) -> None:
        await self.livekit.room.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=self.room_name, metadata=status(identity))
        )

    def token(self, identity: str, *, hidden: bool = False) -> str:
        grants = api.VideoGrants(room_join=True, room=self.room_name, hidden=hidden, can_update_own_metadata=True)
        return api.AccessToken(KEY, SECRET).with_identity(identity).with_kind("agent").with_grants(grants).to_jwt()

    def invite(self, service: Service, **more: Any) -> Invite:
        fields: dict[str, Any] = {
            "session": invited_session(room_name=self.room_name),
            "identity": SERVICE_IDENTITY,
            "token": self.token(SERVICE_IDENTITY),
            "server_url": self.server.url,
            "manager_identity": MANAGER,
        }
        return invite(service.service_id, **fields | more)

    async def identities(self) -> set[str]:
        listing = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=self.room_name))
        return {participant.identity for participant in listing.participants}

    async def until(self, wanted: Callable[[set[str]], bool]) -> None:
        """Return once the identities in the room are as wanted."""
        await eventually(described(wanted), self.identities, wanted)


@pytest.fixture
async def kit_room(silent_site: Site) -> AsyncIterator[KitRoom]:
    server = silent_site.livekit
    async with ManagerStandIn() as http, api.LiveKitAPI(server.http_url, KEY, SECRET) as livekit:
        kit_room = KitRoom(server, livekit, http)
        await kit_room.open()
        yield kit_room
        await kit_room.aclose()


def status(manager: str | None) -> str:
    state = RoomStatus(
        session_id="session-1", state=SessionState.WAITING, services=[], manager_identity=manager, revision=1
    )
    return state.model_dump_json()


class Diary:
    """A service that signals ready and records its progress."""

    def __init__(self, **more: Any) -> None:
        self.service = Service("asr-service", type="ASR", grace=1, **more)
        self.service.on_invite(self._handle)
        self.ready = asyncio.Event()
        self.reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def _handle(self, job: SessionJob) -> None:
        await job.join(rtc.RoomOptions(auto_subscribe=False))
        await job.say_ready("warm")
        self.ready.set()
        self.reason.set_result(await job.ended())

    @property
    def job(self) -> SessionJob:
        return self.service.jobs[0]

    async def over(self) -> str:
        return await in_time("the job's end", self.reason, lambda: self.service.jobs)


async def test_ready_signal_is_repeated_until_acknowledged(kit_room: KitRoom) -> None:
    manager, diary = await kit_room.send_manager(ignoring=2), Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        assert await kit_room.http.post(endpoint, kit_room.invite(diary.service)) == 200
        assert await manager.hears() == ServiceMessage(type=Signal.READY, detail="warm")
        async with waiting_for("say_ready() to return", lambda: manager.heard):
            await diary.ready.wait()
        assert await manager.hears_nothing_for(1.0)
    assert len(manager.heard) == 3


async def test_service_finds_a_manager_that_joins_later(kit_room: KitRoom) -> None:
    diary = Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service))
        await kit_room.until(lambda there: SERVICE_IDENTITY in there)
        manager = await kit_room.send_manager()
        assert (await manager.hears()).type is Signal.READY


async def test_invite_without_a_manager_identity_is_enough(kit_room: KitRoom) -> None:
    manager, diary = await kit_room.send_manager(NEXT_MANAGER), Diary()
    await kit_room.show_manager(NEXT_MANAGER)
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service, manager_identity=None))
        assert (await manager.hears()).type is Signal.READY


async def test_ready_signal_is_repeated_to_a_replacement_manager(kit_room: KitRoom) -> None:
    first, diary = await kit_room.send_manager(), Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service))
        await first.hears()
        await first.leave()
        await kit_room.show_manager(NEXT_MANAGER)  # as it is known before it is there
        second = await kit_room.send_manager(NEXT_MANAGER)
        assert (await second.hears()).type is Signal.READY
        await kit_room.show_manager(NEXT_MANAGER)
        assert await second.hears_nothing_for(0.3)


async def test_ready_signal_is_repeated_after_a_full_reconnect(kit_room: KitRoom) -> None:
    manager, diary = await kit_room.send_manager(), Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service))
        await manager.hears()
        await diary.job.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
        assert (await manager.hears()).type is Signal.READY


async def test_service_leaves_when_the_session_has_ended(kit_room: KitRoom) -> None:
    await kit_room.send_manager()
    diary = Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        sent = kit_room.invite(diary.service)
        await kit_room.http.post(endpoint, sent)
        await in_time("the signal ready", diary.ready.wait(), lambda: diary.service.jobs)
        assert SERVICE_IDENTITY in await kit_room.identities()
        assert await kit_room.http.post(endpoint, session_ended(sent, reason="user_left")) == 200
        assert await diary.over() == "user_left"
        await kit_room.until(lambda there: SERVICE_IDENTITY not in there)


async def test_job_ends_when_the_room_is_deleted(kit_room: KitRoom) -> None:
    await kit_room.send_manager()
    diary = Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service))
        await in_time("the signal ready", diary.ready.wait(), lambda: diary.service.jobs)
        await kit_room.delete_room()
        assert await diary.over() == "room_deleted"


async def test_session_end_stops_an_unacknowledged_ready_signal(kit_room: KitRoom) -> None:
    diary = Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        sent = kit_room.invite(diary.service)
        await kit_room.http.post(endpoint, sent)
        await kit_room.until(lambda there: SERVICE_IDENTITY in there)
        await kit_room.http.post(endpoint, session_ended(sent))
        await kit_room.until(lambda there: SERVICE_IDENTITY not in there)
    assert not diary.ready.is_set()


async def test_stopped_service_leaves_its_rooms(kit_room: KitRoom) -> None:
    await kit_room.send_manager()
    diary = Diary()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service))
        await in_time("the signal ready", diary.ready.wait(), lambda: diary.service.jobs)
    assert await diary.over() == "service_stopped"
    assert SERVICE_IDENTITY not in await kit_room.identities()


async def test_crashed_handler_signals_failed_without_its_message(kit_room: KitRoom) -> None:
    manager = await kit_room.send_manager(ignoring=1)
    service = Service("asr-service", type="ASR")

    @service.on_invite
    async def crash(job: SessionJob) -> None:
        await job.join()
        raise MemoryError(f"no room for the model; {job.invite.token}")

    async with service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(service))
        assert await manager.hears() == ServiceMessage(type=Signal.FAILED, detail="MemoryError")
        await kit_room.until(lambda there: SERVICE_IDENTITY not in there)


async def test_handler_can_signal_progress_and_failure(kit_room: KitRoom) -> None:
    manager = await kit_room.send_manager()
    service = Service("asr-service", type="ASR")

    @service.on_invite
    async def fail_politely(job: SessionJob) -> None:
        await job.join()
        job.say_progress("half of the model is loaded")
        await job.say_failed("the other half is missing")

    async with service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(service))
        heard = [await manager.hears(), await manager.hears()]  # LiveKit may turn the order of calls round
        assert ServiceMessage(type=Signal.PROGRESS, detail="half of the model is loaded") in heard
        assert ServiceMessage(type=Signal.FAILED, detail="the other half is missing") in heard
        await kit_room.until(lambda there: SERVICE_IDENTITY not in there)


async def test_missing_room_ends_the_job(kit_room: KitRoom) -> None:
    diary = Diary()
    await kit_room.delete_room()
    async with diary.service.serving(kit_room.http.settings()) as endpoint:
        assert await kit_room.http.post(endpoint, kit_room.invite(diary.service)) == 200
        over = diary.job.over
        assert await in_time("the job's end", over, lambda: diary.service.jobs) == "left"
    assert not diary.ready.is_set()


async def test_join_that_succeeds_after_its_timeout_is_undone(kit_room: KitRoom) -> None:
    diary = Diary(join_timeout=0.3)
    async with Detour(kit_room.server.port) as detour, diary.service.serving(kit_room.http.settings()) as endpoint:
        await kit_room.http.post(endpoint, kit_room.invite(diary.service, server_url=detour.url))
        over = diary.job.over
        await asyncio.sleep(0.5)  # longer than the join may take
        detour.open.set()
        assert await in_time("the job's end", over, lambda: diary.service.jobs) == "left"
        assert SERVICE_IDENTITY not in await kit_room.identities()
    assert not diary.ready.is_set()


class Detour:
    """A proxy to the server that forwards nothing until it is `open`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.open = asyncio.Event()
        self._moving: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Detour:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_server(self._server)
        for task in self._moving:
            task.cancel()
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._moving, *(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [writer, back]
        for source, sink in ((reader, back), (there, writer)):
            self._moving.append(asyncio.create_task(self._move(source, sink)))

    async def _move(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        await self.open.wait()
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()


async def test_each_example_service_becomes_ready(kit_room: KitRoom) -> None:
    manager = await kit_room.send_manager()
    alice = rtc.Room()
    signal: asyncio.Queue[str] = asyncio.Queue()
    beeps: asyncio.Queue[rtc.Track] = asyncio.Queue()
    reading: set[asyncio.Task[None]] = set()

    async def read(text: rtc.TextStreamReader) -> None:
        signal.put_nowait(await text.read_all())

    alice.on("track_subscribed", lambda track, *_: beeps.put_nowait(track))
    alice.register_text_stream_handler("lk.chat", lambda text, _: reading.add(asyncio.create_task(read(text))))
    await connect(alice, kit_room.server.url, kit_room.token("alice"), rtc.RoomOptions(), CONNECT_TIMEOUT)

    for module in (asr_service, llm_service, tts_service):
        service = module.service
        identity = f"sm-{service.service_id}-1"
        sent = kit_room.invite(service, identity=identity, token=kit_room.token(identity))
        async with service.serving(kit_room.http.settings()) as endpoint:
            assert await kit_room.http.post(endpoint, sent) == 200
            heard = [await manager.hears()]
            while heard[-1].type is Signal.PROGRESS:
                heard.append(await manager.hears())
            assert heard[-1].type is Signal.READY
            assert (len(heard) == 4) == (module is llm_service)
            if module is llm_service:
                await alice.local_participant.send_text("hello", topic="lk.chat")
                said = await in_time("the answer of llm-service", signal.get(), lambda: manager.heard)
                assert said == "You said: hello"
            if module is tts_service:
                assert (await in_time("the track of tts-service", beeps.get(), lambda: manager.heard)).name == "voice"
        assert identity not in await kit_room.identities()
    await alice.disconnect()


@pytest.mark.parametrize("ready_on", ["join", "signal"])
@pytest.mark.parametrize("own", ["", "thinking"])
async def test_stock_front_ends_see_a_ready_service_as_available(kit_room: KitRoom, ready_on: str, own: str) -> None:
    """`useAgent` gives up on an agent without `lk.agent.state`. What a service sets itself counts."""
    await kit_room.send_manager()
    service = Service("asr-service", type="ASR", ready_on=ready_on)  # type: ignore[arg-type]
    shown: list[str] = []
    expected = asyncio.Event()

    def note(_changed: dict[str, str], participant: rtc.Participant) -> None:
        shown.append(participant.attributes.get("lk.agent.state", ""))
        if shown[-1] == (own or "listening"):
            expected.set()

    @service.on_invite
    async def serve(job: SessionJob) -> None:
        job.room.on("participant_attributes_changed", note)
        room = await job.join()
        if ready_on == "signal":
            await job.say_ready()
        if own:
            await room.local_participant.set_attributes({"lk.agent.state": own})
        await job.ended()

    async with service.serving(kit_room.http.settings()) as endpoint:
        assert await kit_room.http.post(endpoint, kit_room.invite(service, ready_on=ready_on)) == 200
        await in_time("lk.agent.state", expected.wait(), lambda: shown)
    assert shown[-1] == (own or "listening")
