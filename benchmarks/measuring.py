"""The footprint of a process and its descendants, waiting until it is idle, and percentiles."""

from __future__ import annotations

import asyncio
import math
import time
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil

MB = 1_000_000
SLICES = 3
BUSY = 0.5
"""Cores. A process that works off a backlog uses a whole core steadily for a while, and is not idle."""
REST_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """A process and all its descendants at one instant."""

    at: float
    """Seconds of the monotonic clock."""
    pss_mb: float
    """Proportional set size: memory shared by processes counts once in total."""
    processes: int
    threads: int
    cpu_s: float
    """CPU seconds so far, user and system, including descendants that have exited."""

    def cores_since(self, earlier: Footprint) -> float:
        """The average CPU use since `earlier`, in cores."""
        return (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at)


@dataclass(frozen=True, slots=True)
class Rest:
    """A process at rest: its CPU use no longer falls."""

    footprint: Footprint
    cores: float
    peak_pss_mb: float
    """The peak memory until then."""


def footprint(pid: int) -> Footprint:
    """The current footprint of the process and its descendants. Raises psutil.NoSuchProcess when it has exited."""
    root = psutil.Process(pid)
    pss = processes = threads = 0
    cpu = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            with process.oneshot():
                memory, own_threads = process.memory_full_info().pss, process.num_threads()
                times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # just exited
        pss += memory
        processes += 1
        threads += own_threads
        cpu += times.user + times.system + times.children_user + times.children_system
    return Footprint(time.monotonic(), pss / MB, processes, threads, cpu)


async def at_rest(pid: int, slice_s: float) -> Rest:
    """Wait until the CPU use of the process no longer falls from slice to slice (`slice_s` seconds each)."""
    seen: deque[Footprint] = deque([footprint(pid)], maxlen=SLICES + 1)
    start, peak = seen[0].at, seen[0].pss_mb
    while True:
        await asyncio.sleep(slice_s)
        seen.append(footprint(pid))
        peak = max(peak, seen[-1].pss_mb)
        late = seen[-1].at - start > REST_TIMEOUT
        if late:
            warnings.warn(f"process {pid} did not become idle: its figures are too high", stacklevel=2)
        if late or (len(seen) > SLICES and _steady(seen)):
            return Rest(seen[-1], seen[-1].cores_since(seen[0]), peak)


def _steady(seen: Sequence[Footprint]) -> bool:
    first, last = seen[1].cores_since(seen[0]), seen[-1].cores_since(seen[-2])
    return last < BUSY and first <= last * 1.1 + 0.005


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed; NaN when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def times(value: float, reference: float) -> str:
    """The ratio of value to reference, such as `x 2.5`; empty when it is meaningless."""
    if not (value > 0 and reference > 0):
        return ""
    ratio = value / reference
    return f"x {ratio:.0f}" if ratio >= 9.95 else f"x {ratio:.1f}"
