"""How many files the process may have open: connections are files, and so is each way to a room that the SDK tries."""

from __future__ import annotations

import resource
from contextlib import suppress

OPEN_FILES_MAX = 65_536
"""As many as the systemd unit in deploy/ allows."""
OPEN_MAX = 10_240
"""What macOS allows a process."""


def raise_limit() -> None:
    """Raise this process's own limit, often 1,024, as far as its hard limit allows, and at most to OPEN_FILES_MAX.

    Go and Java programs do the same at their start. It is not needed to serve, so a refusal is ignored: macOS shows no
    hard limit, and refuses more than OPEN_MAX.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (OPEN_FILES_MAX, OPEN_MAX):
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= allowed:
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            return
