"""Measure how soon a lost service is replaced, compared with the time until the first one is ready.

    python -m benchmarks.replacement

There are two instances of one type. For each session one is invited, joins and becomes ready; then it leaves, and the
other is invited. The services (written with the service kit) and the session manager run in this process.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from benchmarks.command import BenchmarkCommand
from benchmarks.result import Figure, FigureTable
from http_api.app_keys import STORE
from http_api.bootstrap import compose
from http_api.observability import logs
from http_api.server import serving
from http_api.settings.settings import DevSettings
from manager_agent.session.session import Session, SessionState
from manager_agent.store.store import Store
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from service_kit import Service, ServiceSettings, SessionJob

TYPE, INSTANCES = "BOT", ("bot-1", "bot-2")
REGISTERED_TIMEOUT = 15.0
TRIALS, QUICK = 30, 2


@dataclass(frozen=True, slots=True)
class Trial:
    """Milliseconds of one session."""

    first: float
    """From the invite of the first instance until the session is ready."""
    noticed: float
    """From the instance leaving until the session is degraded."""
    replaced: float
    """From then until the session is ready again."""


class ReplacementBench:
    """Runs trials with the session manager and the services."""

    def __init__(self, store: Store, http: aiohttp.ClientSession) -> None:
        self._store, self._http = store, http
        self.jobs: dict[str, SessionJob] = {}

    async def trial(self, number: int) -> Trial:
        body = {"user_identity": f"user-{number}", "required_services": [{"type": TYPE}]}
        async with self._http.post("/api/v1/sessions", json=body) as answer:
            answer.raise_for_status()
            session_id = (await answer.json())["session_id"]
        ready = self._store.get(session_id)
        assert ready.ready_at is not None
        assert ready.services[0].timeline.invited is not None
        left = time.perf_counter()
        await self.jobs[ready.services[0].service_id].room.disconnect()
        await self._until(session_id, SessionState.DEGRADED)
        noticed = time.perf_counter()
        await self._until(session_id, SessionState.READY)
        replaced = time.perf_counter()
        await (await self._http.delete(f"/api/v1/sessions/{session_id}")).release()
        first = ready.ready_at - ready.services[0].timeline.invited
        return Trial(first * 1e3, (noticed - left) * 1e3, (replaced - noticed) * 1e3)

    async def _until(self, session_id: str, state: SessionState) -> Session:
        return await self._store.wait_for(session_id, lambda session: session.state is state)


def service(service_id: str, jobs: dict[str, SessionJob]) -> Service:
    """An instance that joins and signals ready, and whose job can be made to leave."""
    instance = Service(service_id, type=TYPE)

    @instance.on_invite
    async def come(job: SessionJob) -> None:
        jobs[service_id] = job
        await job.join()
        await job.say_ready()
        await job.ended()

    return instance


async def measure(trials: int, folder: Path) -> list[Trial]:
    api_port = free_port()
    api_url = f"http://127.0.0.1:{api_port}"
    webhooks = f"{api_url}/livekit/webhook"
    livekit = LiveKitServer(find_or_build(), port=free_port(), webhook_url=webhooks, log=folder / "livekit.log")
    logs.configure(dev=True, level="error", secrets=())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(livekit)
        settings = DevSettings(_env_file=None, LIVEKIT_SERVER_URL=livekit.url, server_port=api_port, log_level="error")  # type: ignore[call-arg]
        app = await stack.enter_async_context(serving(compose(settings)))
        http = await stack.enter_async_context(aiohttp.ClientSession(api_url))
        bench = ReplacementBench(app[STORE], http)
        for service_id in INSTANCES:
            instance = service(service_id, bench.jobs)
            own = ServiceSettings(
                session_manager_url=api_url, invite_api_key="devkey", invite_api_secret=SecretStr("secret")
            )
            await stack.enter_async_context(instance.serving(own))
        async with asyncio.timeout(REGISTERED_TIMEOUT):
            while (await http.get("/readyz")).status != 200:
                await asyncio.sleep(0.05)
        await bench.trial(0)  # warm-up
        return [await bench.trial(number) for number in range(1, trials + 1)]


def table(trials: list[Trial]) -> FigureTable:
    first = "first instance invited -> ready"
    rows = {
        first: [trial.first for trial in trials],
        "left -> noticed": [trial.noticed for trial in trials],
        "noticed -> other instance ready": [trial.replaced for trial in trials],
        "left -> other instance ready": [trial.noticed + trial.replaced for trial in trials],
    }
    figures = [Figure.of("replacement", name, values, "ms", floor=first) for name, values in rows.items()]
    return FigureTable(title="From loss to replacement, sessions in sequence", figures=figures)


def main() -> None:
    command = BenchmarkCommand("replacement", __doc__)
    command.add_size("trials", TRIALS, QUICK)
    trials = command.read().trials
    with tempfile.TemporaryDirectory() as folder:
        command.finish(table(asyncio.run(measure(trials, Path(folder)))))


if __name__ == "__main__":
    main()
