"""Cycles of sessions: created, ready, ended, against a real session manager and a real livekit-server."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from livekit import api, rtc

from manager_agent.livekit.room_connection import connect, disconnect
from tests.live.conftest import KEY, SECRET, Site, room_names
from tests.live.manager_process import ManagerProcess
from tests.live.soak.figures import ResourceUse
from tests.live.soak.observed_manager import FIGURES
from tests.live.soak.soak_services import JOINING, QUICK, QuickService, joining_service, settings_of
from tests.waiting import waiting_for

AT_ONCE = 4
CYCLE_TIMEOUT, CONNECT_TIMEOUT = 120.0, 30.0
RETRY_PAUSE = 0.5
REST_MIN, REST_TIMEOUT, REST_PAUSE = 11.0, 90.0, 1.0
"""Seconds after the last cycle. The SDK frees some rooms only 10 s after they were left."""
KEPT = 10
"""Ended sessions that can still be read; each has a task."""
NONE: Mapping[str, str] = {}
SETTINGS = {
    "LOG_LEVEL": "warning",
    "READY_TIMEOUT": "60",
    # What is kept on purpose is bounded, and full during the first cycles.
    "SESSIONS_KEPT": f"{KEPT}",
    "SESSIONS_KEPT_PER_CALLER": f"{KEPT}",
}


MANAGER_FIGURES = "manager"
"""The name of the files in which the manager tells what it uses."""


class ObservedManager(ManagerProcess):
    """A session manager that tells what it uses."""

    module = "tests.live.soak.observed_manager"

    def __init__(self, site: Site, *, folder: Path, **environment: str) -> None:
        self.figures = folder / f"{MANAGER_FIGURES}.json"
        environment = SETTINGS | {FIGURES: str(self.figures)} | environment
        super().__init__(site, port=None, log=folder / "manager.log", **environment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def used(self) -> dict[str, int]:
        self.figures.unlink(missing_ok=True)
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        async with waiting_for("the session manager's figures", lambda: self.tail):
            while not self.figures.exists():
                await asyncio.sleep(0.02)
        figures: dict[str, int] = json.loads(self.figures.read_text())
        return figures


@dataclass(frozen=True, slots=True)
class Mix:
    """Which sessions are special: one in so many; 0: none."""

    joined: int = 0
    """A service joins and signals by RPC. In the others a service signals by HTTP."""
    users: int = 0
    """A user joins and leaves."""
    cut_short: int = 0
    """Ended at once, while the services are invited and the manager joins."""

    def is_one(self, kind: str, number: int) -> bool:
        every: int = getattr(self, kind)
        return every > 0 and number % every == 0


class Cycles:
    """Cycles of one manager, counted."""

    def __init__(self, manager: ObservedManager, site: Site, mix: Mix) -> None:
        self._manager, self._site, self._mix = manager, site, mix
        self._started, self.done, self.failures = time.monotonic(), 0, list[str]()

    async def run(self, count: int) -> None:
        """Run so many cycles, some at the same time."""
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                self.done += 1
                try:
                    async with asyncio.timeout(CYCLE_TIMEOUT):
                        await self._cycle(self.done)
                except (AssertionError, TimeoutError, rtc.ConnectError) as error:
                    self.failures.append(f"cycle {self.done}: {error!r}")

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def _cycle(self, number: int) -> None:
        is_cut_short = self._mix.is_one("cut_short", number)
        needed = JOINING if self._mix.is_one("joined", number) else QUICK
        body = {"user_identity": "alice", "required_services": [{"type": needed}]}
        prefer = "respond-async" if is_cut_short else "wait=60"
        session = await self._ask("POST", "/sessions", body, {"Prefer": prefer})
        path = f"/sessions/{session['session_id']}"
        if not is_cut_short:
            await self._until_watched(path)
            if self._mix.is_one("users", number):
                await self._join(session)
        await self._ask("DELETE", path)

    async def _ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NONE) -> dict[str, Any]:
        """The body of the answer, asked for again while the answer is 503: on a busy machine LiveKit may be slow."""
        while True:
            status, answer = await self._manager.ask(method, path, body, **headers)
            if status != 503:
                assert status in (200, 201, 202), answer
                return dict(answer)
            await asyncio.sleep(RETRY_PAUSE)

    async def _until_watched(self, path: str) -> None:
        """Wait until the manager is in the room. Sessions may be ready before."""
        while True:
            timeline = await self._ask("GET", f"{path}/timeline")
            if any(step["name"] == "manager_joined" for step in timeline["steps"]):
                return
            await asyncio.sleep(0.05)

    async def _join(self, session: dict[str, Any]) -> None:
        room = rtc.Room()
        options = rtc.RoomOptions(auto_subscribe=False)
        await connect(room, session["server_url"], session["access_token"], options, CONNECT_TIMEOUT)
        await disconnect(room)

    async def figures(self) -> ResourceUse:
        """The figures of the manager now."""
        async with api.LiveKitAPI(self._site.livekit.http_url, KEY, SECRET) as livekit:
            rooms = len(await room_names(livekit))
        return ResourceUse(
            self.done, len(self.failures), time.monotonic() - self._started, rooms=rooms, **await self._manager.used()
        )

    async def at_rest(self, base: ResourceUse) -> ResourceUse:
        """The figures once they are back at the base; those of the last look after REST_TIMEOUT."""
        await asyncio.sleep(REST_MIN)
        until = time.monotonic() + REST_TIMEOUT
        while not (latest := await self.figures()).is_back_at(base) and time.monotonic() < until:
            await asyncio.sleep(REST_PAUSE)
        return latest

    async def warmed_up(self, count: int) -> ResourceUse:
        """The base after so many cycles: no more tasks than before the first one, but for those of ended sessions.
        Threads, connections and buffers that a process makes once and keeps count to the base."""
        fresh = await self.figures()
        await self.run(count)
        many = 1_000_000
        return await self.at_rest(replace(fresh, tasks=fresh.tasks + KEPT, threads=many, files=many))


@asynccontextmanager
async def session_cycles(
    site: Site, folder: Path, mix: Mix, **environment: str
) -> AsyncIterator[tuple[Cycles, QuickService]]:
    """A session manager with its services: two that signal by HTTP, of which the given one may crash, and one that
    joins."""
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(ObservedManager(site, folder=folder, **environment))
        quick = [await stack.enter_async_context(QuickService(f"quick-{n}", manager.url)) for n in range(2)]
        for service in quick:
            status, answer = await manager.ask("POST", "/microservices/register", service.registration())
            assert status in (200, 201), answer
        if mix.joined:
            await stack.enter_async_context(joining_service().serving(settings_of(manager.url)))
        yield Cycles(manager, site, mix), quick[0]
