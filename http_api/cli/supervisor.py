"""Restarts a program that ends by itself: after a crash, a panic of the native library, or a kill.

It runs beside the program for as long as that runs, so it is a small process of its own that imports nothing but the
standard library: `python -I -S supervisor.py COMMAND...`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HEARD = (*FORWARDED, signal.SIGCHLD, signal.SIGALRM)
"""Blocked, and taken one by one with sigwait(). A handler would run only once a wait that had just begun is over: the
signal would be lost until the program ends."""
FINAL = frozenset({0, 2})
"""Exit codes after which a restart would not help or is not wanted: it was stopped, or its settings are invalid."""
PAUSE, PAUSE_MAX = 0.5, 30.0
"""Seconds before a restart. The pause doubles with each one in a row, up to the maximum."""
STABLE = 60.0
"""Seconds after which a program that runs is well: the next pause is the first again."""
STOP_TIMEOUT = 25.0
"""Seconds from the first signal until the program is killed. It ends by itself within 20."""
PR_SET_PDEATHSIG = 1
KILLED = 128
"""Added to the number of the signal that ended a program, as shells do."""


class Supervisor:
    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._signals = 0
        """The signals received to end the program."""

    def run(self) -> int:
        """Run the program until it ends for good. Returns its exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # one that is ignored would never be seen, though blocked
        restarts, pause = 0, PAUSE
        while True:
            started = time.monotonic()
            code = self._run_once()
            if self._signals or code in FINAL:
                return code
            if time.monotonic() - started >= STABLE:
                pause = PAUSE
            restarts += 1
            _log("restarting", exit_code=code, pause=pause, restarts=restarts)
            if self._is_told_within(pause):
                return code
            pause = min(2 * pause, PAUSE_MAX)

    def _run_once(self) -> int:
        """The exit code of one run."""
        # In a group of its own: the terminal would send Ctrl-C to both, and the second signal kills.
        program = subprocess.Popen(self._command, preexec_fn=_prepare(os.getpid()), process_group=0)
        while (code := program.poll()) is None:
            match signal.sigwait(HEARD):
                case signal.SIGCHLD:
                    pass
                case signal.SIGALRM:
                    program.kill()
                case number:
                    self._pass_on(number, program)
        return code if code >= 0 else KILLED - code

    def _is_told_within(self, seconds: float) -> bool:
        """Whether a signal to end comes within that time. Returns once it has come."""
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while (number := signal.sigwait(HEARD)) != signal.SIGALRM:
            if number in FORWARDED:
                return True
        return False

    def _pass_on(self, number: int, program: subprocess.Popen[bytes]) -> None:
        """Pass a signal on to the program. The second one kills it."""
        self._signals += 1
        if self._signals > 1:
            program.kill()
        else:
            program.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
            signal.setitimer(signal.ITIMER_REAL, STOP_TIMEOUT)


def _prepare(supervisor: int) -> Callable[[], None]:
    """What the program does before it starts: take signals again, and, on Linux, ask for SIGTERM when the supervisor
    dies."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        for number in HEARD:
            signal.signal(number, signal.SIG_DFL)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != supervisor:  # it has died already
            os._exit(KILLED + signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    return prepare


def _log(event: str, **fields: object) -> None:
    """Write one line as the program does: JSON, or in a terminal text."""
    if sys.stderr.isatty():
        line = f"{event} " + " ".join(f"{name}={value}" for name, value in fields.items())
    else:
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({**fields, "event": event, "level": "error", "logger": "supervisor", "timestamp": at})
    with suppress(OSError):  # the reader is gone
        os.write(2, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
