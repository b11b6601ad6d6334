"""Health endpoints, and the shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from pydantic import BaseModel

from http_api.models.health import Health
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.upstreams import UPSTREAMS
from http_api.server import serving
from http_api.settings.settings import DevSettings
from manager_agent.control import probe
from manager_agent.session.events import SessionClosed
from manager_agent.session.session import Session
from scripts.free_ports import free_port
from tests.api.stand_ins import Api, LiveKit, stand_ins
from tests.api.still_sessions import still_session
from tests.api.streams.feed_reader import Readers
from tests.waiting import eventually

pytestmark = pytest.mark.api


async def test_server_is_alive_but_not_ready_before_the_agent_registers(api: Api) -> None:
    api.agent.is_registered = False
    status, _, health = await api.ask("GET", "//health")
    assert (status, health["status"], health["manager_agent"]) == (200, "ok", "not registered")
    assert (await api.ask("GET", "//livez"))[0] == 200
    status, headers, _ = await api.ask("GET", "//readyz")
    assert (status, headers["Retry-After"]) == (503, "2")
    api.agent.is_registered = True
    assert (await api.ask("GET", "//readyz"))[0] == 200


async def test_health_is_rendered_anew_only_if_it_has_changed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []

    def render(self: Health) -> str:
        rendered.append(self.manager_agent)
        return BaseModel.model_dump_json(self)

    monkeypatch.setattr(Health, "model_dump_json", render)
    for api.agent.is_registered in (False, False, True, True, True, False):
        wanted = "registered" if api.agent.is_registered else "not registered"
        status, _, health = await api.ask("GET", "//health")
        assert (status, health["manager_agent"]) == (200, wanted)
    assert rendered[-2:] == ["registered", "not registered"]
    assert len(rendered) <= 3


async def test_process_whose_records_another_one_writes_is_not_ready(api: Api) -> None:
    """It acts in its LiveKit server, the other one in another, and both have one STATE_DIR."""
    api.parts.records.freeze()
    status, headers, problem = await api.ask("GET", "//readyz")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert "STATE_DIR" in problem["detail"]


async def test_keys_that_livekit_rejects_are_told_from_a_livekit_that_is_away(api: Api) -> None:
    """Waiting helps in one case only."""
    api.agent.is_registered, api.livekit.down = False, True
    status, headers, problem = await api.open(prefer="")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert problem["detail"] == "LiveKit could not be reached or could not serve the request"
    api.parts.rooms.rejection = "LIVEKIT_API_KEY is unknown"
    status, headers, problem = await api.open(prefer="")
    assert (status, "Retry-After" in headers) == (503, False)
    assert "retrying does not help: LIVEKIT_API_KEY is unknown" in problem["detail"]
    assert "LIVEKIT_API_KEY is unknown" in (await api.ask("GET", "//readyz"))[2]["detail"]
    assert (await api.ask("GET", "//health?deep=true"))[2]["detail"].endswith("a room: LIVEKIT_API_KEY is unknown")
    api.app[UPSTREAMS].check()
    assert "LIVEKIT_API_KEY is unknown" in (api.app[UPSTREAMS].statuses[0].detail or "")


async def test_deep_health_check_fails_at_once_when_its_session_ends(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LiveKit that dies after it made the room."""
    monkeypatch.setattr(probe, "PROBE_TIMEOUT", 30.0)
    asking = asyncio.create_task(api.ask("GET", "//health?deep=true"))
    [session] = await eventually("the session of the check", sessions_in(api), bool)
    await api.until(session.session_id, lambda latest: latest.room.created_at is not None)
    await api.parts.store.update(session.session_id, SessionClosed(api.parts.clock()))
    status, _, problem = await asking
    assert (status, problem["detail"]) == (503, "could not get a manager into the room: the session ended: closed")


def sessions_in(api: Api) -> Callable[[], Awaitable[list[Session]]]:
    async def sessions() -> list[Session]:
        return list(api.parts.store.list())

    return sessions


async def test_deep_health_sessions_are_shown_to_no_caller_and_kept_in_no_log(api: Api, readers: Readers) -> None:
    """Dev mode's caller has the scope admin."""
    feed = await readers.reader()
    async with still_session(api, "ses_probe", owner="") as probe:
        await probe.becomes_ready()
        assert (await api.ask("GET", "/sessions"))[2]["sessions"] == []
        assert (await api.ask("GET", "/sessions/ses_probe"))[0] == 404
        assert (await api.ask("DELETE", "/sessions/ses_probe"))[0] == 404
        _, snapshot = await (await readers.reader()).next()
        assert snapshot["sessions"] == []
        assert api.app[RECENT_LOGS].of("ses_probe") == []
        async with still_session(api, "ses_ours"):
            told = await feed.until("session")
    assert told["session_id"] == "ses_ours"


async def test_shutdown_that_ends_sessions_answers_waiting_requests_and_leaves_no_room() -> None:
    settings = DevSettings(_env_file=None, server_port=free_port(), stop_ends_sessions=True)
    livekit = LiveKit()
    parts, agent = stand_ins(settings, livekit)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.server_port}") as http:
        api = Api(http, parts, livekit, agent, settings.server_port)
        async with serving(parts):
            await api.register("asr-service")
            asking = asyncio.create_task(api.open("asr-service", prefer=""))
            await livekit.invited.wait()
        status, headers, problem = await asking
    assert (status, headers["Retry-After"], problem["detail"]) == (503, "2", "the session manager is stopping")
    assert livekit.rooms == []
