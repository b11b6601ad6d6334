"""Gives each worker of a run ports of its own."""

from __future__ import annotations

import os

from scripts.free_ports import FREE_PORTS, PORTS


def take_own_ports() -> None:
    """Call it before the first port is taken. A worker that replaces a dead one has the ports of another, too."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    each = len(PORTS) // workers
    first = PORTS.start + number * each
    os.environ[FREE_PORTS] = f"{first}-{first + each - 1}"
