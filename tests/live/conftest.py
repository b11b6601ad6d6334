"""Live tests: for each test a real livekit-server, and an API with its manager agent on the test's event loop. A failed
test shows what the server and the manager logged."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit import api
from livekit.rtc import _ffi_client
from livekit.rtc._ffi_client import FfiClient

from http_api.app_keys import ACTING, AGENT, CLOCK, RECOVERY, REGISTRY, ROOMS, STORE
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.sinks import LogSinks
from http_api.server import serving
from http_api.settings.secret_values import secret_values
from http_api.settings.settings import DevSettings, Settings
from manager_agent.clock import Clock
from manager_agent.control import probe
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.reconcile import Reconciler
from manager_agent.interfaces import HELP, has_interface
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.ffi import disable_log_capture
from manager_agent.registry.registry import Registry
from manager_agent.session.session import Session
from manager_agent.store.store import Store
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from tests.leak_scanner import LEAK_SCANNER
from tests.live.bots import Bot
from tests.live.node_example import node_service_folder as node_service_folder
from tests.livekit_proxy import REGISTERS, LiveKitProxy
from tests.session_report import in_short
from tests.signals import write_to_terminal
from tests.waiting import described, eventually, waiting_for

disable_log_capture()
vars(_ffi_client)["print"] = write_to_terminal  # why the SDK panicked: what is captured is lost with the process

KEY, SECRET = "devkey", "secret"
LAST_LOOK_TIMEOUT = 5.0
"""Seconds that a test waits at its end for LiveKit's list of rooms: a frozen server never answers."""
LOG_SHOWN = 20_000
"""Characters of each log that a failed test shows."""


@dataclass(slots=True)
class Site:
    """A livekit-server and the port on which it expects the API."""

    livekit: LiveKitServer
    api_port: int

    def restart(self) -> None:
        """Restart the server and so drop the rooms that a test left behind. To be called from a thread."""
        asyncio.run(self.livekit.stop())
        asyncio.run(self.livekit.start())


@dataclass(slots=True)
class Stack:
    """A running API with its manager agent, and what a test needs to call it and to look inside."""

    site: Site
    app: web.Application
    http: aiohttp.ClientSession
    livekit: api.LiveKitAPI
    log: io.StringIO
    bots: AsyncExitStack
    served: AsyncExitStack

    async def stop(self) -> None:
        """Stop as the process does on SIGTERM, while the test goes on."""
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

    def new_reconciler(self) -> Reconciler:
        """One that does a round when the test says so."""
        return Reconciler(
            store=self.store,
            rooms=self.app[ROOMS],
            missed_rooms=MissedRooms(),
            recovery=self.app[RECOVERY],
            acting=self.app[ACTING],
            clock=self.clock,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.site.api_port}"

    async def bot(self, service_id: str, type: str = "BOT", **registration: Any) -> Bot:
        """A registered service."""
        bot = await self.bots.enter_async_context(Bot(service_id, type))
        body = bot.registration(**registration)
        async with (
            waiting_for(f"the registration of {service_id}", self.sessions),
            self.http.post("/api/v1/microservices/register", json=body) as answer,
        ):
            assert answer.status == 201, await answer.text()
        return bot

    async def request(self, *required: Any, prefer: str = "respond-async", **more: Any) -> dict[str, Any]:
        """Create a session and return the body of the answer, which must not be a problem."""
        body = {"user_identity": "alice", "required_services": list(required), **more}
        async with (
            waiting_for(f"a session with {required}", self.sessions),
            self.http.post("/api/v1/sessions", json=body, headers={"Prefer": prefer}) as answer,
        ):
            session: dict[str, Any] = await answer.json()
            assert answer.status in (201, 202), session
            return session

    async def view(self, session_id: str) -> dict[str, Any]:
        async with (
            waiting_for(f"the view of {session_id}", self.sessions),
            self.http.get(f"/api/v1/sessions/{session_id}") as answer,
        ):
            session: dict[str, Any] = await answer.json()
            return session

    def sessions(self) -> list[str]:
        """Each session in one line, for the message of a failed wait."""
        return [in_short(session) for session in self.store.list()]

    async def until(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Return the session once it is as wanted. Fails at once if it is over and nothing more happens to it."""
        async with waiting_for(described(wanted), lambda: in_short(self.store.get(session_id))):
            session = await self.store.wait_for(session_id, lambda latest: wanted(latest) or latest.is_cleaned_up)
        assert wanted(session), f"{described(wanted)}: {in_short(session)}"
        return session

    async def logged(self, event: str, times: int) -> None:
        """Return once the manager has logged this event so often."""
        async with waiting_for(f"{times} log entries {event}", lambda: self.log.getvalue()[-2_000:]):
            while self.log.getvalue().count(event) < times:
                await asyncio.sleep(0.02)

    def logged_of(self, session_id: str, event: str) -> list[dict[str, Any]]:
        """The log entries of this session with this event name."""
        return [entry for entry in self.app[RECENT_LOGS].of(session_id) if entry["event"] == event]

    async def rooms(self) -> list[str]:
        """The names of the rooms, without the one that has the process that acts."""
        async with waiting_for("LiveKit's list of rooms", self.sessions):  # LiveKitAPI has no timeout of its own
            return await room_names(self.livekit)

    async def has_no_rooms(self) -> None:
        """Return once LiveKit has none. A manager whose join takes long makes a deleted room again, and that one is
        deleted too."""
        await eventually("no rooms", self.rooms, lambda rooms: not rooms)

    async def participants(self, room_name: str) -> list[api.ParticipantInfo]:
        async with waiting_for(f"LiveKit's list of participants of {room_name}", self.sessions):
            listing = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=room_name))
        return list(listing.participants)


async def room_names(livekit: api.LiveKitAPI) -> list[str]:
    """The names of the rooms, without those that have the process of a deployment that acts."""
    listed = (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms
    return [room.name for room in listed if not room.name.startswith(REGISTERS)]


StartStack = Callable[..., Awaitable[Stack]]


@pytest.fixture(scope="session")
def livekit_binary() -> Path:
    if not has_interface():  # rather than one timeout in each test
        pytest.exit(HELP, returncode=1)
    return find_or_build()


StartServer = Callable[[int, str | None], Awaitable[Site]]


@pytest.fixture
async def start_server(livekit_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartServer]:
    """Start a livekit-server for the API at this port, with webhooks to this URL or without: it outlasts the APIs of
    `start_stack`. Not one server for all tests: late webhooks and rooms of one would disturb the next."""
    async with AsyncExitStack() as servers:

        async def start(api_port: int, webhook_url: str | None) -> Site:
            log = tmp_path_factory.mktemp("livekit") / "server.log"
            server = LiveKitServer(livekit_binary, port=free_port(), webhook_url=webhook_url, log=log)
            return Site(await servers.enter_async_context(server), api_port)

        yield start


@pytest.fixture
async def site(start_server: StartServer) -> Site:
    """A livekit-server whose webhooks go to the API of the test."""
    port = free_port()
    return await start_server(port, f"http://127.0.0.1:{port}/livekit/webhook")


@pytest.fixture
async def silent_site(start_server: StartServer) -> Site:
    """A livekit-server that sends no webhooks."""
    return await start_server(free_port(), None)


@pytest.fixture(autouse=True)
async def no_room_outlives_its_loop() -> AsyncIterator[None]:
    """Unsubscribe the rooms that a test left behind before its loop closes.

    The SDK would offer them events and log the failure under the lock of its queue, and the garbage collector may wait
    for that lock in the middle of a log line: a deadlock."""
    yield
    queue, loop = FfiClient.instance.queue, asyncio.get_running_loop()
    with queue._lock:
        queue._subscribers[:] = [subscriber for subscriber in queue._subscribers if subscriber[1] is not loop]


@pytest.fixture(autouse=True)
def patience_with_the_deep_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """It joins twice, which takes a busy machine longer than an operator would wait."""
    monkeypatch.setattr(probe, "PROBE_TIMEOUT", 100.0)


@pytest.fixture
async def start_stack(request: pytest.FixtureRequest, start_server: StartServer) -> AsyncIterator[StartStack]:
    """Start an API with the given settings: `await start_stack(site, ready_timeout=2)`. In dev mode unless another
    `kind` of settings is given."""
    async with AsyncExitStack() as stacks:

        async def start(site: Site, *, kind: type[Settings] = DevSettings, **settings: Any) -> Stack:
            sinks = LogSinks()
            log = _show_logs_on_failure(request.node, site, sinks.recent.take)
            defaults: dict[str, Any] = {"LIVEKIT_SERVER_URL": site.livekit.url, "server_port": site.api_port}
            chosen = kind(_env_file=None, **defaults | settings)
            return await stacks.enter_async_context(_running(site, chosen, log, sinks))

        yield start


@pytest.fixture
async def proxy(site: Site) -> AsyncIterator[LiveKitProxy]:
    """A proxy in front of the livekit-server that can misbehave. Started with
    `start_stack(site, LIVEKIT_SERVER_URL=proxy.url)`, an API and all its participants use it. Request it before
    `start_stack`, so that it ends last."""
    async with LiveKitProxy(site.livekit.http_url) as proxy:
        yield proxy


@pytest.fixture
async def stack(start_stack: StartStack, site: Site) -> Stack:
    """An API with its manager agent in dev mode."""
    return await start_stack(site)


@asynccontextmanager
async def _running(site: Site, settings: Settings, log: io.StringIO, sinks: LogSinks) -> AsyncIterator[Stack]:
    LEAK_SCANNER.secrets |= secret_values(settings)
    async with AsyncExitStack() as cleanup:
        bots = await cleanup.enter_async_context(AsyncExitStack())  # first, so that they get the session-ended messages
        served = await cleanup.enter_async_context(AsyncExitStack())
        app = await served.enter_async_context(serving(compose(settings, sinks)))
        http = await cleanup.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{site.api_port}"))
        livekit = await cleanup.enter_async_context(api.LiveKitAPI(site.livekit.http_url, KEY, SECRET))
        async with waiting_for("the server to be ready", lambda: log.getvalue()[-2_000:]):
            while (await http.get("/readyz")).status != 200:
                await asyncio.sleep(0.01)
        stack = Stack(site, app, http, livekit, log, bots, served)
        yield stack
        with suppress(aiohttp.ClientError, TimeoutError, api.ServerError):  # a test may have stopped LiveKit
            async with asyncio.timeout(LAST_LOOK_TIMEOUT):
                listing = await livekit.room.list_rooms(api.ListRoomsRequest())
            for room in listing.rooms:
                LEAK_SCANNER.text("room metadata", room.name, room.metadata)
    LEAK_SCANNER.text("log", "the manager", log.getvalue())


@dataclass(slots=True)
class _LogsOfATest:
    server: Path
    manager: io.StringIO


_LOGS = pytest.StashKey[list[_LogsOfATest]]()


def _show_logs_on_failure(test: pytest.Item, site: Site, sink: logs.Sink) -> io.StringIO:
    manager = io.StringIO()
    logs.configure(dev=True, level="debug", secrets=[SECRET], stream=manager, sinks=[sink])
    test.stash.setdefault(_LOGS, []).append(_LogsOfATest(site.livekit.log, manager))
    return manager


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for captured in item.stash.get(_LOGS, []):
            server = captured.server.read_text(errors="replace")
            report.sections.append(("livekit-server", server[-LOG_SHOWN:]))
            report.sections.append(("manager", captured.manager.getvalue()[-LOG_SHOWN:]))
    return report


@pytest.fixture
async def livekit(silent_site: Site) -> AsyncIterator[api.LiveKitAPI]:
    """LiveKit's API, as seen past the session manager."""
    async with api.LiveKitAPI(silent_site.livekit.http_url, KEY, SECRET) as livekit:
        yield livekit
