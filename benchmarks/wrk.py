"""Run wrk, the HTTP load generator (Debian's package `wrk`), and read its figures."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
done = function(summary, latency, requests)
    local failed = summary.errors
    io.stderr:write(string.format(
        '{"count": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        failed.connect + failed.read + failed.write + failed.status + failed.timeout
    ))
end
"""


class LoadFailed(Exception):
    """wrk could not be run, or some of its requests failed."""


@dataclass(frozen=True, slots=True)
class WrkLoad:
    """What wrk saw; latencies in milliseconds."""

    count: int
    per_second: float
    p50: float
    p99: float


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on the PATH: apt-get install wrk")


async def load(
    url: str, *, method: str, headers: Mapping[str, str], connections: int, seconds: int, folder: Path
) -> WrkLoad:
    """Send requests over so many connections for so long, each as soon as the connection's last one is answered. Raises
    LoadFailed if a request is not answered, or with a status of 400 or more."""
    script = folder / f"{method}.lua"
    script.write_text(f'wrk.method = "{method}"\n{SCRIPT}')
    named = (argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}"))
    options = ("-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(script))
    wrk = await asyncio.create_subprocess_exec("wrk", *options, *named, url, stdout=PIPE, stderr=PIPE)
    out, err = await wrk.communicate()
    if wrk.returncode != 0 or not err.startswith(b"{"):
        raise LoadFailed(f"wrk {url}: {(err or out).decode()}")
    seen = json.loads(err)
    if seen["failed"] or not seen["count"]:
        raise LoadFailed(f"{method} {url}: of {seen['count']} requests {seen['failed']} failed")
    return WrkLoad(seen["count"], seen["count"] / seen["seconds"], seen["p50"], seen["p99"])
