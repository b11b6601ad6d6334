"""The signals of a process that runs tests: it can be interrupted, and says what it did when it is terminated."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

import pytest

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """A run in the background of a shell ignores SIGINT, and so would every program that it starts: handle it.

    On SIGTERM show the stack of each thread, then end. LiveKit's SDK sends it to its own process when its native side
    panics; then a stack has `ffi_event_callback`. Not to the captured stderr, which is lost."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_STDERR] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    faulthandler.register(signal.SIGTERM, file=config.stash[_STDERR], chain=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    faulthandler.unregister(signal.SIGTERM)
    os.close(config.stash[_STDERR])
