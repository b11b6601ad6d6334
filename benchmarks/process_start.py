"""Measure what the process costs before its first room, and what importing the service kit costs.

    python -m benchmarks.process_start

Each round starts four processes one after another: the session manager, with a real livekit-server, until /readyz
answers 200; Python that imports service_kit; and for each of them its floor, which is Python that only imports the
libraries they are made of. Memory is measured REST seconds later, from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.child import START_TIMEOUT, Child, run, running
from benchmarks.measuring import MB, times
from scripts.livekit_server import LiveKitServer, find_or_build, free_port

LIBRARIES = ("aiohttp.web", "pydantic", "livekit.rtc", "livekit.api")
KIT_LIBRARIES = ("aiohttp.web", "pydantic", "livekit.rtc", "jwt")
MANAGER, KIT = "session manager", "service_kit"
FLOORS = {MANAGER: "its libraries", KIT: "the kit's libraries"}
REST = 3.0
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
FIGURES = {
    "ready_s": "start until ready, s",
    "cpu_s": "  CPU of it, s",
    "import_s": "  the imports of it, s",
    "pss_mb": "memory at rest, PSS MB",
    "rss_mb": "  the same, RSS MB",
}


async def imported(modules: Sequence[str], log: Path) -> ProcessStart:
    """Import the modules in a new process."""
    begun = time.monotonic()
    async with running("benchmarks.imported", *modules, log=log) as child:
        took = float(await child.receive())
        return await at_rest(child, time.monotonic() - begun, took)


async def managed(livekit: LiveKitServer, deployment: str, log: Path) -> ProcessStart:
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
        return await at_rest(child, time.monotonic() - begun, None)


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


async def at_rest(child: Child, ready_s: float, import_s: float | None) -> ProcessStart:
    process = psutil.Process(child.pid)
    cpu = process.cpu_times()
    await asyncio.sleep(REST)
    memory = process.memory_full_info()
    return ProcessStart(ready_s, cpu.user + cpu.system, import_s, memory.pss / MB, memory.rss / MB)


async def measure(rounds: int, folder: Path) -> Found:
    found: Found = {name: [] for pair in FLOORS.items() for name in pair}
    async with AsyncExitStack() as stack:
        server = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=folder / "livekit.log")
        livekit = await stack.enter_async_context(server)
        for number in range(rounds + 1):
            one = {
                FLOORS[MANAGER]: await imported(LIBRARIES, folder / "floor.log"),
                MANAGER: await managed(livekit, f"round-{number}", folder / "manager.log"),
                FLOORS[KIT]: await imported(KIT_LIBRARIES, folder / "floor.log"),
                KIT: await imported(("service_kit",), folder / "kit.log"),
            }
            for name, start in one.items():
                if number:  # the first round reads the files from disk, and may compile them
                    found[name].append(start)
    return found


def median(starts: Sequence[ProcessStart], figure: str) -> float:
    """NaN where there is none."""
    values = [value for start in starts if (value := getattr(start, figure)) is not None]
    return statistics.median(values) if values else math.nan


def cell(starts: Sequence[ProcessStart], figure: str) -> str:
    """The median, and the least to the most."""
    values = [value for start in starts if (value := getattr(start, figure)) is not None]
    return f"{statistics.median(values):.2f}  ({min(values):.2f} to {max(values):.2f})" if values else ""


def show(found: Found) -> None:
    rounds = len(found[MANAGER])
    table = Table(title=f"A process without rooms: median of {rounds} rounds (least to most)")
    for title in ("process", "figure", "floor", "measured", "difference", "ratio"):
        table.add_column(title, justify="left" if title in ("process", "figure") else "right")
    for name, floor in FLOORS.items():
        for figure, title in FIGURES.items():
            low, high = median(found[floor], figure), median(found[name], figure)
            if not math.isnan(high):
                shown = (cell(found[floor], figure), cell(found[name], figure), f"{high - low:+.2f}", times(high, low))
                table.add_row(name, title, *shown)
        table.add_section()
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures of every round into this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(measure(arguments.rounds, Path(folder)))
    show(found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({name: list(map(asdict, starts)) for name, starts in found.items()}))


if __name__ == "__main__":
    main()
