"""scripts/soak: cycles of sessions for hours, or a number of them, and a verdict."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import structlog
from jwt import InsecureKeyLengthWarning

from scripts.free_ports import free_port
from scripts.livekit_build import find_or_build
from scripts.livekit_server import LiveKitServer
from tests.live.conftest import Site
from tests.live.soak.figures import ResourceUse, leaks
from tests.live.soak.observed_manager import TRACE
from tests.live.soak.plot import plot
from tests.live.soak.session_cycles import MANAGER_FIGURES, Mix, session_cycles
from tests.live.soak.soak_services import QuickService

WARM_UP, ROUND = 200, 100
"""Cycles."""
MIX = Mix(joined=5, users=6, cut_short=7)
CRASH_EVERY, CRASH_LASTS = 20.0, 5.0
"""Seconds."""
SHOWN = 10


async def soak(folder: Path, is_over: Callable[[ResourceUse], bool], **environment: str) -> list[ResourceUse]:
    """Run rounds of cycles until `is_over`. Returns the figures at rest after the warm-up and after each round; the
    last ones are those of a manager that had time to come back to the base."""
    async with AsyncExitStack() as stack:
        server = LiveKitServer(find_or_build(), port=free_port(), webhook_url=None, log=folder / "livekit.log")
        site = Site(await stack.enter_async_context(server), free_port())
        cycles, service = await stack.enter_async_context(session_cycles(site, folder, MIX, **environment))
        crashing = asyncio.create_task(crash(service))
        stack.callback(crashing.cancel)
        with (folder / "figures.jsonl").open("w") as file:
            seen = [await cycles.warmed_up(WARM_UP)]
            keep_base(folder)
            told = 0
            while True:
                print(json.dumps(asdict(seen[-1])), file=file, flush=True)
                say(seen[0], seen[-1])
                for failure in cycles.failures[told:]:
                    print(f"           {failure}", flush=True)
                told = len(cycles.failures)
                if is_over(seen[-1]):
                    return seen
                await cycles.run(ROUND)
                seen.append(await cycles.at_rest(seen[0]))


async def crash(service: QuickService) -> None:
    """Let a service fail again and again. Another instance of its type takes its sessions."""
    while True:
        await asyncio.sleep(CRASH_EVERY)
        service.is_crashed = True
        await asyncio.sleep(CRASH_LASTS)
        service.is_crashed = False


def say(base: ResourceUse, now: ResourceUse) -> None:
    grown = now.growth_since(base) / 1024, now.growth_since(base, "allocated") / 1024
    print(
        f"{now.seconds:7.0f} s  {now.cycles:6} cycles  {now.uss / 1e6:6.1f} MB ({grown[0]:+.1f} KiB a cycle)  "
        f"{now.allocated / 1e6:6.1f} MB allocated ({grown[1]:+.1f})  {now.objects} objects  {now.tasks} tasks  "
        f"{now.threads} threads  {now.files} files  {now.rooms} rooms",
        flush=True,
    )


def keep_base(folder: Path) -> None:
    """Keep what the manager wrote about its objects, for `grown`."""
    for path in folder.glob(f"{MANAGER_FIGURES}.t*"):  # .types, .trace
        path.replace(folder / f"base{path.suffix}")


def grown(folder: Path) -> Iterator[str]:
    """The types of Python objects of which there are more than at the base, and with --trace where they were made."""
    before, after = (Counter(json.loads((folder / f"{name}.types").read_text())) for name in ("base", MANAGER_FIGURES))
    for name, count in (after - before).most_common(SHOWN):
        yield f"{count:+} {name}"
    if (folder / "base.trace").exists():
        base, last = (tracemalloc.Snapshot.load(str(folder / f"{name}.trace")) for name in ("base", MANAGER_FIGURES))
        for difference in last.compare_to(base, "traceback")[:SHOWN]:
            yield "\n    ".join([f"{difference.size_diff:+} bytes", *difference.traceback.format()])


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("hours", type=float, nargs="?", help="how long; without it a number of cycles")
    parser.add_argument("--cycles", type=int, default=1000, help="after the warm-up")
    parser.add_argument("--out", type=Path, help="the folder for figures and logs")
    parser.add_argument("--trace", action="store_true", help="find out where Python objects are made; slower")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", InsecureKeyLengthWarning)  # of LiveKit's development secret
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # of the service kit
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a panic of the SDK sends it to its process
    started = time.monotonic()

    def is_over(now: ResourceUse) -> bool:
        if options.hours is None:
            return bool(now.cycles >= WARM_UP + options.cycles)
        return bool(time.monotonic() - started >= options.hours * 3600)

    seen = asyncio.run(soak(folder, is_over, **({TRACE: "1"} if options.trace else {})))
    plot(seen, folder / "figures.svg")
    found = list(leaks(seen[0], seen[-1]))
    print(f"figures, plot and logs: {folder}")
    print("\n".join(["found:", *found, "more Python objects than at first:", *grown(folder)]) if found else "no leaks")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(1)
