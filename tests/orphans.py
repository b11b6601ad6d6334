"""Ends what the programs of a dead test worker leave behind: a livekit-server, services, browsers."""

from __future__ import annotations

import ctypes
import sys

import psutil
import pytest

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphaned descendants become children of this process, not of init."""
END_TIMEOUT = 5.0

_workers: set[int] = set()
"""The process ids of all workers that this run has started."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _workers.update(child.pid for child in psutil.Process().children())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(error: object) -> None:
    """After the death of a worker: kill the orphans, one generation after the other."""
    if error and sys.platform == "linux":
        while orphans := [child for child in psutil.Process().children() if child.pid not in _workers]:
            for orphan in orphans:
                orphan.kill()
            if psutil.wait_procs(orphans, timeout=END_TIMEOUT)[1]:
                break
