"""Ends what the programs of a dead test worker leave behind: a livekit-server, services, browsers."""

from __future__ import annotations

import ctypes
import os
import sys
import time

import psutil
import pytest

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): orphaned descendants become children of this process, not of init."""
END_TIMEOUT = 5.0

_workers: set[int] = set()
"""The process ids of all workers that this run has started."""
_dead: set[int] = set()
"""Those whose death was noticed."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        _workers.update(child.pid for child in psutil.Process().children())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(error: object) -> None:
    """After the death of a worker: kill the orphans, one generation after the other."""
    if error and sys.platform == "linux":
        _wait_for_a_death()
        while orphans := [child for child in psutil.Process().children() if child.pid not in _workers]:
            for orphan in orphans:
                orphan.kill()
            if psutil.wait_procs(orphans, timeout=END_TIMEOUT)[1]:
                break


def _wait_for_a_death() -> None:
    """Wait until a worker that was alive is dead. Its connection ends first, and its children become ours last."""
    give_up_at = time.monotonic() + END_TIMEOUT
    while not (died := {pid for pid in _workers - _dead if not _is_alive(pid)}) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    _dead.update(died)


def _is_alive(pid: int) -> bool:
    """A worker whose main thread is a zombie keeps its children until its last thread has ended."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:  # it was waited for
        return False
