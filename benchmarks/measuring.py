"""What a process costs with everything it has started, when it has come to rest, and percentiles."""

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
"""Cores. A process that works off what has piled up takes a steady whole one for a while."""
REST_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """A process and all its descendants at one instant."""

    at: float
    """Seconds of the monotonic clock."""
    pss_mb: float
    """Proportional set size: memory that processes share counts once, not once for each of them."""
    processes: int
    threads: int
    cpu_s: float
    """Seconds of CPU so far, user and system, also of descendants that have ended."""

    def cores_since(self, earlier: Footprint) -> float:
        """CPU used since, in cores."""
        return (self.cpu_s - earlier.cpu_s) / (self.at - earlier.at)


@dataclass(frozen=True, slots=True)
class Rest:
    """The cost of a process once its CPU usage has stopped falling."""

    footprint: Footprint
    cores: float
    peak_pss_mb: float
    """The most memory on the way there."""


def footprint(pid: int) -> Footprint:
    """The current cost of the process and its descendants. Raises psutil.NoSuchProcess if it has ended."""
    root = psutil.Process(pid)
    pss = processes = threads = 0
    cpu = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            with process.oneshot():
                memory, own_threads = process.memory_full_info().pss, process.num_threads()
                times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has just ended
        pss += memory
        processes += 1
        threads += own_threads
        cpu += times.user + times.system + times.children_user + times.children_system
    return Footprint(time.monotonic(), pss / MB, processes, threads, cpu)


async def at_rest(pid: int, slice_s: float) -> Rest:
    """Wait until the CPU usage of the process no longer falls from slice to slice."""
    seen: deque[Footprint] = deque([footprint(pid)], maxlen=SLICES + 1)
    start, peak = seen[0].at, seen[0].pss_mb
    while True:
        await asyncio.sleep(slice_s)
        seen.append(footprint(pid))
        peak = max(peak, seen[-1].pss_mb)
        late = seen[-1].at - start > REST_TIMEOUT
        if late:
            warnings.warn(f"process {pid} does not come to rest: its figures are too high", stacklevel=2)
        if late or (len(seen) > SLICES and _steady(seen)):
            return Rest(seen[-1], seen[-1].cores_since(seen[0]), peak)


def _steady(seen: Sequence[Footprint]) -> bool:
    first, last = seen[1].cores_since(seen[0]), seen[-1].cores_since(seen[-2])
    return last < BUSY and first <= last * 1.1 + 0.005


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that `percent` % of them do not exceed; NaN when there are none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def times(value: float, reference: float) -> str:
    """The value as a multiple of the reference; empty where that is meaningless."""
    if not (value > 0 and reference > 0):
        return ""
    ratio = value / reference
    return f"x {ratio:.0f}" if ratio >= 9.95 else f"x {ratio:.1f}"
