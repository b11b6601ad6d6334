"""Shifts the wall clock of a process under test, also while it runs, with libfaketime. Its monotonic clock stays.

`python -m tests.wall_clock --ensure` installs what is missing: Debian's package faketime with apt-get (needs root).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APT_GET = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")


def library() -> Path | None:
    """libfaketime, if it is installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class ShiftedWallClock:
    """The wall clock of processes that are started with this environment."""

    def __init__(self, folder: Path) -> None:
        """Skips the test where libfaketime is not installed; in CI it fails."""
        if (faketime := library()) is None:
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up("libfaketime is not installed (Debian and Ubuntu: apt install faketime)")
        self._shift = folder / "wall-clock-shift"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(faketime),
            "FAKETIME_TIMESTAMP_FILE": str(self._shift),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Set the clock to so many seconds after the true time, or before it. A process that runs reads it within a
        second: at each look at its clock would be slow."""
        new = self._shift.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._shift)


def ensure() -> None:
    """Install libfaketime if it is missing and can be installed. Without it, the tests that need it are skipped."""
    if library() is not None or os.getuid() != 0:
        return
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*APT_GET, "update"], env=env, capture_output=True, check=False)
    subprocess.run([*APT_GET, "install", "-y", "faketime"], env=env, capture_output=True, check=False)


if __name__ == "__main__" and sys.argv[1:] == ["--ensure"]:
    ensure()
