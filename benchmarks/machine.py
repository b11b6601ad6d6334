"""The machine and the versions that a benchmark has run with."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from scripts.livekit_build import VERSION as LIVEKIT_SERVER
from scripts.repository import ROOT

PACKAGES = ("livekit", "livekit-agents", "livekit-api", "aiohttp", "redis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    cores: int
    processor: str
    kernel: str
    load: float
    """The load average of the last minute, when the benchmark began: above 0, other programs were running."""
    versions: dict[str, str]
    commit: str
    """Of this repository; with a `+` if files were changed since."""
    at: datetime

    @classmethod
    def now(cls) -> Machine:
        versions = {"Python": platform.python_version(), "livekit-server": LIVEKIT_SERVER}
        return cls(
            cores=os.cpu_count() or 1,
            processor=processor(),
            kernel=f"{platform.system()} {platform.release()}",
            load=round(os.getloadavg()[0], 1),
            versions=versions | {name: version(name) for name in PACKAGES},
            commit=commit(),
            at=datetime.now(UTC).replace(microsecond=0),
        )


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def commit() -> str:
    """Empty if git or the repository is missing."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
