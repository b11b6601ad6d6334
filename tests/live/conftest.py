"""Live tests: a real livekit-server for the whole run, and for every test an API with its manager agent, on the
test's own loop. A failed test shows what the server and the manager logged during it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit import api
from livekit.rtc._ffi_client import FfiClient

from http_api.app_keys import AGENT, CLOCK, REGISTRY, STORE
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.sinks import LogSinks
from http_api.server import serving
from http_api.settings.settings import DevSettings, Settings
from manager_agent.clock import Clock
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.registry.registry import Registry
from manager_agent.session.session import Session
from manager_agent.store.store import Store
from scripts.livekit_server import LiveKitServer, find_or_build, free_port
from tests.exhibits import EXHIBITS
from tests.live.bots import Bot
from tests.live.node_example import node_service_folder as node_service_folder

disable_log_capture()

KEY, SECRET = "devkey", "secret"
LOG_SHOWN = 20_000
"""Characters of each log that a failed test shows."""


@dataclass(slots=True)
class Site:
    """A livekit-server and the port on which it expects the API."""

    livekit: LiveKitServer
    api_port: int

    def restart(self) -> None:
        """From a thread: for a test that leaves it with rooms of nobody."""
        asyncio.run(self.livekit.stop())
        asyncio.run(self.livekit.start())


@dataclass(slots=True)
class Stack:
    """A running API with its manager agent, and what a test needs to talk to it and to look inside."""

    site: Site
    app: web.Application
    http: aiohttp.ClientSession
    livekit: api.LiveKitAPI
    log: io.StringIO
    bots: AsyncExitStack
    served: AsyncExitStack

    async def stop(self) -> None:
        """What SIGTERM does to the process, while the test goes on."""
        await self.served.aclose()

    @property
    def store(self) -> Store:
        return self.app[STORE]

    @property
    def manager(self) -> ManagerAgent:
        return self.app[AGENT]

    @property
    def registry(self) -> Registry:
        return self.app[REGISTRY]

    @property
    def clock(self) -> Clock:
        return self.app[CLOCK]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.site.api_port}"

    async def bot(self, service_id: str, type: str = "BOT", **registration: Any) -> Bot:
        """A registered service."""
        bot = await self.bots.enter_async_context(Bot(service_id, type))
        async with self.http.post("/api/v1/microservices/register", json=bot.registration(**registration)) as answer:
            assert answer.status == 201, await answer.text()
        return bot

    async def request(self, *required: Any, prefer: str = "respond-async", **more: Any) -> dict[str, Any]:
        """Asks for a session; the answer's body, which must not be a problem."""
        body = {"user_identity": "alice", "required_services": list(required), **more}
        async with self.http.post("/api/v1/sessions", json=body, headers={"Prefer": prefer}) as answer:
            session: dict[str, Any] = await answer.json()
            assert answer.status in (201, 202), session
            return session

    async def view(self, session_id: str) -> dict[str, Any]:
        async with self.http.get(f"/api/v1/sessions/{session_id}") as answer:
            session: dict[str, Any] = await answer.json()
            return session

    async def until(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """The session, once it is as wanted. The test's own timeout bounds it."""
        return await self.store.wait_for(session_id, wanted)

    async def logged(self, event: str, times: int) -> None:
        """Waits until the manager has logged this event so often. The test's own timeout bounds it."""
        while self.log.getvalue().count(event) < times:
            await asyncio.sleep(0.02)

    def logged_of(self, session_id: str, event: str) -> list[dict[str, Any]]:
        """What was logged of this session under this name."""
        return [entry for entry in self.app[RECENT_LOGS].of(session_id) if entry["event"] == event]

    async def rooms(self) -> list[str]:
        return [room.name for room in (await self.livekit.room.list_rooms(api.ListRoomsRequest())).rooms]

    async def participants(self, room_name: str) -> list[api.ParticipantInfo]:
        listing = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        return list(listing.participants)


StartStack = Callable[..., Awaitable[Stack]]


@pytest.fixture(scope="session")
def livekit_binary() -> Path:
    return find_or_build()


@pytest.fixture(scope="session")
def site(livekit_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The livekit-server of the run; its webhooks go to the API of whichever test is running."""
    api_port = free_port()
    yield from _serving(livekit_binary, api_port, f"http://127.0.0.1:{api_port}/livekit/webhook", tmp_path_factory)


@pytest.fixture(scope="session")
def silent_site(livekit_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A livekit-server that sends no webhooks."""
    yield from _serving(livekit_binary, free_port(), None, tmp_path_factory)


def _serving(binary: Path, api_port: int, webhook_url: str | None, tmp: pytest.TempPathFactory) -> Iterator[Site]:
    log = tmp.mktemp("livekit") / "server.log"
    server = LiveKitServer(binary, port=free_port(), webhook_url=webhook_url, log=log)
    asyncio.run(server.start())
    yield Site(server, api_port)
    asyncio.run(server.stop())


@pytest.fixture(autouse=True)
async def no_room_outlives_its_loop() -> AsyncIterator[None]:
    """A room that a test left behind must not be offered events once its loop is closed: the SDK logs that under the
    lock of its queue, while the garbage collector may want that lock in the middle of a log line, for ever."""
    yield
    queue, loop = FfiClient.instance.queue, asyncio.get_running_loop()
    with queue._lock:
        queue._subscribers[:] = [subscriber for subscriber in queue._subscribers if subscriber[1] is not loop]


@pytest.fixture
async def start_stack(request: pytest.FixtureRequest) -> AsyncIterator[StartStack]:
    """Starts an API with settings of the test's own: `await start_stack(site, ready_timeout=2)`. It is one in dev mode
    unless another `kind` of settings is given."""
    async with AsyncExitStack() as stacks:

        async def start(site: Site, *, kind: type[Settings] = DevSettings, **settings: Any) -> Stack:
            sinks = LogSinks()
            log = _show_logs_on_failure(request.node, site, sinks.recent.take)
            chosen = kind(_env_file=None, LIVEKIT_SERVER_URL=site.livekit.url, server_port=site.api_port, **settings)  # type: ignore[call-arg]
            return await stacks.enter_async_context(_running(site, chosen, log, sinks))

        yield start


@pytest.fixture
async def stack(start_stack: StartStack, site: Site) -> Stack:
    """An API with its manager agent, settings as in dev mode."""
    return await start_stack(site)


@asynccontextmanager
async def _running(site: Site, settings: Settings, log: io.StringIO, sinks: LogSinks) -> AsyncIterator[Stack]:
    EXHIBITS.secrets |= settings.secrets
    async with AsyncExitStack() as cleanup:
        bots = await cleanup.enter_async_context(AsyncExitStack())  # first, so that they are told goodbye
        served = await cleanup.enter_async_context(AsyncExitStack())
        app = await served.enter_async_context(serving(compose(settings, sinks)))
        http = await cleanup.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{site.api_port}"))
        livekit = await cleanup.enter_async_context(api.LiveKitAPI(site.livekit.http_url, KEY, SECRET))
        async with asyncio.timeout(10):
            while (await http.get("/readyz")).status != 200:
                await asyncio.sleep(0.01)
        stack = Stack(site, app, http, livekit, log, bots, served)
        yield stack
        with suppress(aiohttp.ClientError, TimeoutError, api.ServerError):  # a test may have stopped LiveKit
            for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms:
                EXHIBITS.text("room metadata", room.name, room.metadata)
    EXHIBITS.text("log", "the manager", log.getvalue())


@dataclass(slots=True)
class _LogsOfATest:
    server: Path
    server_from: int
    manager: io.StringIO


_LOGS = pytest.StashKey[list[_LogsOfATest]]()


def _show_logs_on_failure(test: pytest.Item, site: Site, sink: logs.Sink) -> io.StringIO:
    manager = io.StringIO()
    logs.configure(dev=True, level="debug", secrets=[SECRET], stream=manager, sinks=[sink])
    log = site.livekit.log
    test.stash.setdefault(_LOGS, []).append(_LogsOfATest(log, log.stat().st_size, manager))
    return manager


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for captured in item.stash.get(_LOGS, []):
            server = captured.server.read_bytes()[captured.server_from :].decode(errors="replace")
            report.sections.append(("livekit-server", server[-LOG_SHOWN:]))
            report.sections.append(("manager", captured.manager.getvalue()[-LOG_SHOWN:]))
    return report
