"""The signals of a process that runs tests: it can be interrupted, and says what it did when it is terminated."""

from __future__ import annotations

import faulthandler
import os
import signal
from typing import Any

_terminal: list[int] = []
"""The file descriptor of stderr as it was before pytest captured it, of which the report shows nothing if the process
ends in a test."""


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would every program that it starts: handle it.

    On SIGTERM show the stack of each thread, then end. LiveKit's SDK sends it to its own process when its native side
    panics; then a stack has `ffi_event_callback`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _terminal.append(os.dup(2))
    faulthandler.register(signal.SIGTERM, file=_terminal[-1], chain=True)


def pytest_unconfigure() -> None:
    faulthandler.unregister(signal.SIGTERM)
    os.close(_terminal.pop())


def write_to_terminal(*words: object, **_: Any) -> None:
    """Print to stderr as it was before pytest captured it; takes the arguments of print()."""
    os.write(_terminal[-1], f"{' '.join(map(str, words))}\n".encode())
