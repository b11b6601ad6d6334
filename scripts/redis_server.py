"""Finds redis-server for the tests, or fetches Debian's package of it, without root.

`python -m scripts.redis_server --ensure` prints the path of the binary. With TEST_REDIS=valkey it is valkey-server,
which Debian 12 has in its backports. Where there is neither, it says why the tests that need it are skipped, or fails
if CI is set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from scripts import debian_packages, prerequisites
from scripts.prerequisites import PrerequisiteMissing
from scripts.repository import ROOT

HOME = ROOT / ".redis"
"""What was fetched."""


def wanted() -> str:
    """The server that the tests use: redis or valkey, by TEST_REDIS. Raises PrerequisiteMissing for another value."""
    name = os.environ.get("TEST_REDIS", "redis")
    if name not in ("redis", "valkey"):
        raise PrerequisiteMissing("TEST_REDIS must be redis or valkey")
    return name


def find(name: str | None = None) -> Path:
    """The path of the server, on the PATH or fetched earlier. `name`: redis or valkey; None: as TEST_REDIS says. Raises
    PrerequisiteMissing."""
    name = name or wanted()
    return debian_packages.find(f"{name}-server", HOME)


def find_or_fetch(name: str | None = None) -> Path:
    """The path of the server, which is fetched if it is nowhere. Takes seconds and blocks. Raises
    PrerequisiteMissing."""
    program = f"{name or wanted()}-server"
    return debian_packages.find_or_fetch(program, package=program, home=HOME)


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("redis", "Find redis-server or fetch it.", find_or_fetch))
