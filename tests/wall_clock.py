"""Shifts the wall clock of a process under test, also while it runs, with libfaketime. Its monotonic clock stays. And
tells whether the machine's own wall clock was set during a test.

`python -m tests.wall_clock --ensure` installs what is missing: Debian's package faketime with apt-get (needs root).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

APT_GET = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")

SET = 0.05
"""Seconds by which the wall clock and the monotonic clock drift apart in no test."""
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


class MachineClock:
    """Tells whether the machine's wall clock was set, as after a pause of a virtual machine. Then a session that the
    next process recovers has other instants: all are shifted by as much (decision 0031)."""

    def __init__(self) -> None:
        self._began = time.time() - time.monotonic()

    @property
    def was_set(self) -> bool:
        return abs(time.time() - time.monotonic() - self._began) > SET

    def comparable(self, view: Any) -> Any:
        """What is true of the JSON `view` also in the next process: all of it, but for its instants if the clock was
        set."""
        return _without_instants(view) if self.was_set else view


def _without_instants(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_instants(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_instants(one) for one in value]
    return "" if isinstance(value, str) and INSTANT.fullmatch(value) else value


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
