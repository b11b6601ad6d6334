"""Measure what the process costs before its first room, and what importing the service kit costs.

    python -m benchmarks.process_start

Each round starts four processes one after another: the session manager, with a real livekit-server, until /readyz
answers 200; Python that imports service_kit; and for each of them its floor, which is Python that only imports the
libraries they are made of. Memory is measured seconds later, from outside.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from benchmarks.child import START_TIMEOUT, Child, run, running
from benchmarks.command import BenchmarkCommand
from benchmarks.measuring import MB
from benchmarks.result import Compared, Figure, FigureTable, Goal
from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer

LIBRARIES = ("aiohttp.web", "pydantic", "livekit.rtc", "livekit.api")
KIT_LIBRARIES = ("aiohttp.web", "pydantic", "livekit.rtc", "jwt")
MANAGER, KIT = "session manager", "service_kit"
FLOORS = {MANAGER: "its libraries", KIT: "the kit's libraries"}
ROUNDS, QUICK_ROUNDS = 5, 1
REST, QUICK_REST = 3.0, 0.0
"""Seconds. What is loaded in the background is loaded by then."""
POLL_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class ProcessStart:
    """One process in one round."""

    ready_s: float
    """From the start of the process until it had imported all, or was ready."""
    cpu_s: float
    """CPU seconds until then: less than the former on a busy machine, and steadier."""
    import_s: float | None
    """Of ready_s, the imports. None for the manager: it loads while it serves."""
    pss_mb: float
    rss_mb: float


Found = dict[str, list[ProcessStart]]
"""The rounds of each process."""


@dataclass(frozen=True, slots=True)
class StartLine:
    """What the table has of a process."""

    work: str
    unit: str
    value: Callable[[ProcessStart], float | None]
    goal: Goal | None = None
    """Of the session manager."""
    kit_goal: Goal | None = None


LINES = (
    StartLine(
        "start until ready", "s", lambda one: one.ready_s,
        goal=Goal(of=Compared.MORE, most=0.3), kit_goal=Goal(of=Compared.MORE, most=0.25),
    ),
    StartLine("CPU of it", "s", lambda one: one.cpu_s),
    StartLine("the imports of it", "s", lambda one: one.import_s),
    StartLine("memory at rest, PSS", "MB", lambda one: one.pss_mb, goal=Goal(of=Compared.MORE, most=25)),
    StartLine("memory at rest, RSS", "MB", lambda one: one.rss_mb),
)  # fmt: skip


async def imported(modules: Sequence[str], log: Path, rest: float) -> ProcessStart:
    """Import the modules in a new process."""
    begun = time.monotonic()
    async with running("benchmarks.imported", *modules, log=log) as child:
        took = float(await child.receive())
        return await at_rest(child, time.monotonic() - begun, took, rest)


async def managed(livekit: LiveKitServer, deployment: str, log: Path, rest: float) -> ProcessStart:
    """Start a session manager, as a deployment of its own: it waits for no other process."""
    port = free_port()
    environment = {
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(port),
        "LIVEKIT_SERVER_URL": livekit.url,
        "DEPLOYMENT": deployment,
        "LOG_LEVEL": "error",
    }
    begun = time.monotonic()
    async with running("http_api", "--dev", log=log, environment=environment) as child:
        await child.meanwhile(ready(f"http://127.0.0.1:{port}/readyz"))
        return await at_rest(child, time.monotonic() - begun, None, rest)


async def ready(url: str) -> None:
    """Return when the manager can take sessions. Raises TimeoutError."""
    async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectionError:
                pass  # it does not listen yet
            await asyncio.sleep(POLL_INTERVAL)


async def at_rest(child: Child, ready_s: float, import_s: float | None, rest: float) -> ProcessStart:
    process = psutil.Process(child.pid)
    cpu = process.cpu_times()
    await asyncio.sleep(rest)
    memory = process.memory_full_info()
    return ProcessStart(ready_s, cpu.user + cpu.system, import_s, memory.pss / MB, memory.rss / MB)


async def measure(rounds: int, rest: float, folder: Path) -> Found:
    found: Found = {name: [] for pair in FLOORS.items() for name in pair}
    async with AsyncExitStack() as stack:
        server = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=folder / "livekit.log")
        livekit = await stack.enter_async_context(server)
        for number in range(rounds + 1):
            one = {
                FLOORS[MANAGER]: await imported(LIBRARIES, folder / "floor.log", rest),
                MANAGER: await managed(livekit, f"round-{number}", folder / "manager.log", rest),
                FLOORS[KIT]: await imported(KIT_LIBRARIES, folder / "floor.log", rest),
                KIT: await imported(("service_kit",), folder / "kit.log", rest),
            }
            for name, start in one.items():
                if number:  # the first round reads the files from disk, and may compile them
                    found[name].append(start)
    return found


def figures(found: Found) -> Iterator[Figure]:
    for name, floor in FLOORS.items():
        for line in LINES:
            goal = line.goal if name == MANAGER else line.kit_goal
            for by, compared, to_reach in ((floor, None, None), (name, floor, goal)):
                values = [value for start in found[by] if (value := line.value(start)) is not None]
                if values:
                    work = f"{name}: {line.work}"
                    yield Figure.of(work, by, values, line.unit, floor=compared, goal=to_reach)


def main() -> None:
    command = BenchmarkCommand("process_start", __doc__)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    command.add_size("rest", REST, QUICK_REST, "seconds until memory is measured")
    asked = command.read()
    with tempfile.TemporaryDirectory() as folder:
        found = run(measure(asked.rounds, asked.rest, Path(folder)))
    command.finish(FigureTable(title="A process without rooms", figures=[*figures(found)]))


if __name__ == "__main__":
    main()
