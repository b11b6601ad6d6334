"""Shifts the wall clock of a process under test, also while it runs. Its monotonic clock stays. And tells whether the
machine's own wall clock was set during a test.

The process is started with a small library (shifted_clock.c). With libfaketime, which does much more, a thread of the
livekit SDK crashed now and then.

`python -m tests.wall_clock --ensure` installs what is missing: a C compiler with apt-get (needs root).
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("shifted_clock.c")
NANOSECONDS = struct.Struct("=q")
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


class ShiftedWallClock:
    """The wall clock of processes that are started with this environment."""

    def __init__(self, folder: Path) -> None:
        """Skips the test where there is no C compiler; in CI it fails."""
        if (compiler := shutil.which("cc")) is None:
            give_up = pytest.fail if os.environ.get("CI") else pytest.skip
            give_up("there is no C compiler (Debian and Ubuntu: apt install gcc libc6-dev)")
        library, shift = folder / "shifted_clock.so", folder / "wall-clock-shift"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        shift.write_bytes(bytes(NANOSECONDS.size))
        with shift.open("r+b") as file:
            self._shift = mmap.mmap(file.fileno(), NANOSECONDS.size)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_SHIFT": str(shift)}

    def jump(self, seconds: int) -> None:
        """Set the clock to so many seconds after the true time, or before it."""
        NANOSECONDS.pack_into(self._shift, 0, seconds * 1_000_000_000)


def ensure() -> None:
    """Install a C compiler if there is none and it can be installed. Without it, the tests that need it are skipped."""
    if shutil.which("cc") is not None or os.getuid() != 0:
        return
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*APT_GET, "update"], env=env, capture_output=True, check=False)
    subprocess.run([*APT_GET, "install", "-y", "gcc", "libc6-dev"], env=env, capture_output=True, check=False)


if __name__ == "__main__" and sys.argv[1:] == ["--ensure"]:
    ensure()
