"""The API of a process that is asked to stop. Its sessions and their rooms stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
import pytest
from structlog.testing import capture_logs

from http_api import app
from http_api.server import serving
from http_api.settings.settings import DevSettings
from http_api.stopping import STOPPING
from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.session.events import Evidence, ServiceSignalled, Signal
from manager_agent.session.session import EndReason, Session, SessionState
from scripts.free_ports import free_port
from tests.always_acting import AlwaysActing
from tests.api.stand_ins import Api, LiveKit, stand_ins
from tests.api.streams.feed_reader import Readers
from tests.event_stream import EventSource
from tests.waiting import waiting_for

pytestmark = pytest.mark.api


class StoppingApi(Api):
    served: AsyncExitStack

    def stop(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.served.aclose())

    async def is_stopping(self) -> None:
        async with waiting_for("the API to begin to stop", lambda: None):
            await self.app[STOPPING].begun()

    @property
    def sessions(self) -> list[Session]:
        return list(self.parts.store.list())


@pytest.fixture
async def stopping_api() -> AsyncIterator[StoppingApi]:
    settings = DevSettings(_env_file=None, server_port=free_port(), service_join_timeout=600)
    livekit = LiveKit()
    parts, agent = stand_ins(settings, livekit)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.server_port}") as http, AsyncExitStack() as served:
        api = StoppingApi(http, parts, livekit, agent, settings.server_port)
        api.served = served
        api.app = await served.enter_async_context(serving(parts))
        await api.register("asr-service")
        yield api


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REQUESTS_TIMEOUT", 0.3)


@pytest.fixture
def ends_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOP_ENDS_SESSIONS", "true")


async def test_sessions_and_their_rooms_outlive_the_process(stopping_api: StoppingApi) -> None:
    await stopping_api.open("asr-service")
    await stopping_api.open(user_identity="bob")
    await stopping_api.stop()
    assert {session.over for session in stopping_api.sessions} == {False}
    assert sorted(stopping_api.livekit.rooms) == sorted(session.room_name for session in stopping_api.sessions)


async def test_a_stopping_process_is_not_ready_and_takes_no_session(stopping_api: StoppingApi) -> None:
    asking = asyncio.create_task(stopping_api.open("asr-service", prefer=""))
    await stopping_api.livekit.invited.wait()
    stopped = stopping_api.stop()
    await stopping_api.is_stopping()
    for method, path, body in (
        ("GET", "//readyz", None),
        ("GET", "//health?deep=true", None),
        ("POST", "/sessions", {"user_identity": "bob", "required_services": []}),
        ("POST", "/token", {"room_config": {"agents": [{"agent_name": "asr-service"}]}}),
    ):
        status, headers, problem = await stopping_api.ask(method, path, body)
        assert (status, headers["Retry-After"], problem["detail"]) == (503, "2", "the session manager is stopping")
        assert headers["Connection"] == "close"
    [session] = stopping_api.sessions
    assert (await stopping_api.ask("GET", f"/sessions/{session.session_id}"))[0] == 200
    await stopping_api.say_ready(session.session_id, "asr-service")
    status, _, view = await asking
    assert (status, view["state"]) == (201, "ready")
    await stopped
    assert not stopping_api.sessions[0].over


@pytest.mark.usefixtures("impatient")
async def test_a_session_that_nobody_can_be_told_of_ends(stopping_api: StoppingApi) -> None:
    asking = asyncio.create_task(stopping_api.open("asr-service", prefer=""))
    await stopping_api.livekit.invited.wait()
    await stopping_api.stop()
    status, headers, problem = await asking
    assert (status, headers["Retry-After"], problem["detail"]) == (503, "2", "the session manager is stopping")
    [session] = stopping_api.sessions
    assert session.end is not None
    assert session.end.reason is EndReason.CLOSED
    assert stopping_api.livekit.rooms == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("headers", "status"), [({"Idempotency-Key": "k1"}, 503), ({"Prefer": "wait=60"}, 202)])
async def test_a_session_that_its_client_can_find_again_goes_on(
    stopping_api: StoppingApi, headers: dict[str, str], status: int
) -> None:
    body = {"user_identity": "alice", "required_services": ["asr-service"]}
    asking = asyncio.create_task(stopping_api.ask("POST", "/sessions", body, headers))
    await stopping_api.livekit.invited.wait()
    await stopping_api.stop()
    assert (await asking)[0] == status
    [session] = stopping_api.sessions
    assert not session.over
    assert stopping_api.livekit.rooms == [session.room_name]


@pytest.mark.usefixtures("impatient")
async def test_a_request_whose_room_livekit_does_not_make_is_answered(stopping_api: StoppingApi) -> None:
    stopping_api.livekit.is_slow = True
    asking = asyncio.create_task(stopping_api.open("asr-service"))
    async with waiting_for("the session", lambda: stopping_api.sessions):
        while not stopping_api.sessions:
            await asyncio.sleep(0.001)
    await stopping_api.stop()
    assert (await asking)[0] == 503


async def test_streams_and_long_polls_end_at_once(stopping_api: StoppingApi) -> None:
    session_id = (await stopping_api.open("asr-service"))[2]["session_id"]
    stream = EventSource(stopping_api.http, f"/api/v1/sessions/{session_id}/events").connect()
    assert (await anext(stream))["state"] == "waiting"
    readers = Readers(stopping_api)
    feed = await readers.reader()
    await feed.next()
    polling = asyncio.create_task(stopping_api.ask("GET", f"/sessions/{session_id}", headers={"Prefer": "wait=60"}))
    await stopping_api.has_waiting(3)
    async with waiting_for("the API to stop", lambda: stopping_api.app[STOPPING]):
        await stopping_api.stop()
    assert [told async for told in stream] == []
    assert [name for name, _ in await feed.rest()] == []
    status, _, view = await polling
    assert (status, view["state"]) == (200, "waiting")


async def test_the_last_changes_are_recorded_before_the_process_ends(
    stopping_api: StoppingApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = (await stopping_api.open("asr-service"))[2]["session_id"]
    await stopping_api.livekit.invited.wait()
    written: list[Session] = []

    async def show_status(session: Session) -> None:
        await asyncio.sleep(0.01)
        written.append(session)

    monkeypatch.setattr(stopping_api.parts.rooms, "show_status", show_status)
    store, identity = stopping_api.parts.store, stopping_api.sessions[0].services[0].identity
    assert identity is not None
    signal = ServiceSignalled(stopping_api.parts.clock(), identity, Signal.READY, Evidence.HTTP)
    latest = await store.update(session_id, signal)
    assert latest.state is SessionState.READY
    await stopping_api.stop()
    assert (written[-1].state, written[-1].revision) == (SessionState.READY, store.get(session_id).revision)


@pytest.mark.usefixtures("ends_sessions")
async def test_a_stop_that_ends_sessions_waits_for_a_slow_answer_about_who_acts(
    stopping_api: StoppingApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stopping_api.open("asr-service")
    acting = stopping_api.parts.acting
    assert isinstance(acting, AlwaysActing)
    acting.pause()
    monkeypatch.setattr(acting, "held", partial(ActingProcess.held, acting))
    stopped = stopping_api.stop()
    await stopping_api.is_stopping()
    acting.go_on()
    await stopped
    assert {session.over for session in stopping_api.sessions} == {True}
    assert stopping_api.livekit.rooms == []


@pytest.mark.usefixtures("ends_sessions")
async def test_a_stop_that_can_not_end_sessions_says_which_ones_are_left(stopping_api: StoppingApi) -> None:
    session_id = (await stopping_api.open("asr-service"))[2]["session_id"]
    acting = stopping_api.parts.acting
    assert isinstance(acting, AlwaysActing)
    acting.pause()
    with capture_logs() as logs:
        await stopping_api.stop()
    [left] = [entry for entry in logs if entry["event"] == "sessions_not_ended"]
    assert (left["count"], left["session_ids"], left["why"]) == (1, [session_id], "LiveKit was not asked yet")
    assert not stopping_api.sessions[0].over
