"""The HTTP API on a free port, with the real store and orchestrator; LiveKit and the services are stand-ins."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from http_api.access.principals import DEVELOPER
from http_api.observability import logs
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing
from http_api.server import serving
from http_api.settings.secret_values import kept_from_logs, secret_values
from http_api.settings.settings import DevSettings, Settings
from manager_agent.frozen import replace
from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.records.records import Records
from manager_agent.session import dispatch
from manager_agent.session.session import Session, User
from scripts.free_ports import free_port
from tests.always_acting import AlwaysActing
from tests.api.stand_ins import Api, LiveKit, StartApi, stand_ins
from tests.api.streams.feed_reader import MakeSessions, Readers
from tests.leak_scanner import LEAK_SCANNER

NEVER_JOINING = 600.0
"""Seconds for services to join, and for a manager to take its job: stand-ins signal ready and are never in a room. No
session ends for that while a test runs."""


@pytest.fixture
async def start_api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartApi]:
    """Starts an API with settings of the test's own: `await start_api(ready_timeout=1)`. It is one in dev mode unless
    another `kind` of settings is given. Its spans go where the settings say, unless another `tracing` is given.
    `records`: those of another API, which it continues. `left_behind`: rooms of an earlier process. Unless `is_acting`,
    another process may act at first."""
    for setting in ("ACCEPT_TIMEOUT", "ACCEPT_TIMEOUT_MAX"):
        monkeypatch.setattr(dispatch, setting, NEVER_JOINING)
    async with AsyncExitStack() as stack:

        async def start(
            kind: type[Settings] = DevSettings,
            *,
            tracing: Tracing | None = None,
            records: Records | None = None,
            left_behind: Sequence[ListedRoom] = (),
            is_acting: bool = True,
            **settings: Any,
        ) -> Api:
            port = free_port()
            chosen = kind(_env_file=None, server_port=port, **{"service_join_timeout": NEVER_JOINING, **settings})
            livekit, sinks = LiveKit(left_behind=list(left_behind)), LogSinks()
            parts, agent = stand_ins(chosen, livekit, sinks, tracing, records)
            assert isinstance(parts.acting, AlwaysActing)
            parts.acting.acts = is_acting
            stack.callback(logged(chosen, sinks.recent.take))
            app = await stack.enter_async_context(serving(parts))
            http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
            api = Api(http, parts, livekit, agent, port)
            api.app = app
            return api

        yield start


def logged(settings: Settings, sink: logs.Sink) -> Callable[[], None]:
    """Log as the program does. Returns a function for the end of the test that prints the log."""
    log = io.StringIO()
    logs.configure(dev=settings.dev, level="debug", secrets=kept_from_logs(settings), stream=log, sinks=[sink])
    LEAK_SCANNER.secrets |= secret_values(settings)

    def show() -> None:
        LEAK_SCANNER.text("log", "the API", log.getvalue())
        print(log.getvalue())

    return show


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api()


@pytest.fixture
async def readers(api: Api) -> AsyncIterator[Readers]:
    yield (made := Readers(api))
    made.close()


@pytest.fixture
async def some_sessions(api: Api) -> AsyncIterator[MakeSessions]:
    """Make sessions without a control loop: `await some_sessions(3)` returns their ids in order of creation. They are
    removed after the test."""

    async def make(count: int, **fields: Any) -> list[str]:
        asked = Session("", "", User("alice"), api.parts.clock(), owner=DEVELOPER.name)
        made = [
            replace(asked, session_id=f"ses_{number:026}", room_name=f"room-{number}", **fields)
            for number in range(count)
        ]
        for session in made:
            await api.parts.store.add(session)
        return [session.session_id for session in made]

    yield make
    for session in api.parts.store.list():
        await api.parts.store.remove(session.session_id)
