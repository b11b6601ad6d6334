"""Measure whether a request costs more when there are many sessions: `python -m benchmarks.request_growth`.

API processes in one, with a stand-in for LiveKit that answers at once, each with another number of sessions that are
ready, with 3 services. They are asked in turns by a second process, so that what else the machine does affects all
alike. What is measured is the CPU time of this process for a request. The smallest size is the floor.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from asyncio import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from benchmarks.command import BenchmarkCommand
from benchmarks.filled_api import an_api
from benchmarks.result import Compared, Figure, FigureTable, Goal, WorkCheck

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (10, 20)
ROUNDS, QUICK_ROUNDS = 15, 1
SECONDS, QUICK_SECONDS = 0.25, 0.1
CLIENTS = 4
FLAT = Goal(of=Compared.RATIO, most=1.2)
ONE = f"ses_{0:026}"
PATHS = {
    "GET /sessions/{id}": ("GET", f"/api/v1/sessions/{ONE}"),
    "POST /sessions/{id}/token": ("POST", f"/api/v1/sessions/{ONE}/token"),
    "GET /sessions?limit=20": ("GET", "/api/v1/sessions?limit=20"),
    "GET /health": ("GET", "/health"),
}


async def cost_us(port: int, method: str, path: str, seconds: float) -> tuple[float, set[str]]:
    """Microseconds of CPU of a request, and the statuses of the answers."""
    request = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.flood", str(port), request, str(CLIENTS), "0", str(seconds),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    await child.stdout.readline()
    begun = time.process_time()
    figures = json.loads(await child.stdout.readline())
    took = time.process_time() - begun
    await child.wait()
    return 1e6 * took / sum(one["count"] for one in figures.values()), set(figures)


Costs = Mapping[str, Mapping[int, list[float]]]
"""By request, and by number of sessions."""


async def measure(sizes: Sequence[int], rounds: int, seconds: float) -> tuple[Costs, set[str]]:
    costs: Costs = {work: {size: [] for size in sizes} for work in PATHS}
    statuses = set[str]()
    async with AsyncExitStack() as stack:
        ports = {size: (await an_api(size, stack))[0] for size in sizes}
        gc.collect()
        gc.freeze()  # as the server does
        for number in range(rounds + 1):
            for work, (method, path) in PATHS.items():
                for size, port in ports.items():
                    us, seen = await cost_us(port, method, path, seconds)
                    statuses |= seen
                    if number:
                        costs[work][size].append(us)
    return costs, statuses


def table(costs: Costs) -> FigureTable:
    figures = []
    for work, by_size in costs.items():
        floor = f"{min(by_size):,} sessions"
        for size, us in by_size.items():
            by = f"{size:,} sessions"
            is_floor = by == floor
            figures.append(
                Figure.of(work, by, us, "us", floor=None if is_floor else floor, goal=None if is_floor else FLAT)
            )
    return FigureTable(title="CPU of a request, by the sessions", figures=figures)


def main() -> None:
    command = BenchmarkCommand("request_growth", __doc__)
    command.add_size("sizes", SIZES, QUICK_SIZES, "numbers of sessions")
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS)
    command.add_size("seconds", SECONDS, QUICK_SECONDS, "of each request in a round")
    asked = command.read()
    costs, statuses = asyncio.run(measure(asked.sizes, asked.rounds, asked.seconds))
    check = WorkCheck("each request was answered", statuses == {"200"}, f"statuses {sorted(statuses)}")
    command.finish(table(costs), checks=[check])


if __name__ == "__main__":
    main()
