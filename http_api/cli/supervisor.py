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
from datetime import UTC, datetime

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
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
        self._program: subprocess.Popen[bytes] | None = None
        self._signals = 0
        """The signals received to end it."""

    def run(self) -> int:
        """Run the program until it ends for good. Returns its exit code."""
        for number in FORWARDED:
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGALRM, self._kill)
        restarts, pause = 0, PAUSE
        while True:
            started = time.monotonic()
            code = self._run_once()
            if self._is_told() or code in FINAL:
                return code
            if time.monotonic() - started >= STABLE:
                pause = PAUSE
            restarts += 1
            _log("restarting", exit_code=code, pause=pause, restarts=restarts)
            self._sleep(pause)
            if self._is_told():
                return code
            pause = min(2 * pause, PAUSE_MAX)

    def _run_once(self) -> int:
        """The exit code of one run."""
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)  # one that comes now is passed on once there is a program
        try:
            if self._is_told():
                return 0
            # In a group of its own: the terminal would send Ctrl-C to both, and the second signal kills.
            self._program = subprocess.Popen(self._command, preexec_fn=_prepare(), process_group=0)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = self._program.wait()
        signal.alarm(0)
        self._program = None
        return code if code >= 0 else KILLED - code

    def _sleep(self, seconds: float) -> None:
        """Sleep until then, or until a signal to end."""
        ends = time.monotonic() + seconds
        while not self._is_told() and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

    def _is_told(self) -> bool:
        """Whether the program was told to end."""
        return self._signals > 0

    def _pass_on(self, number: int, _: object) -> None:
        """Pass a signal on to the program. The second one kills it."""
        self._signals += 1
        if self._signals > 1:
            self._kill()
        elif self._program is not None:
            self._program.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
            signal.alarm(int(STOP_TIMEOUT))

    def _kill(self, *_: object) -> None:
        if self._program is not None:
            self._program.kill()


def _prepare() -> Callable[[], None]:
    """What the program does before it starts: take signals again, and, on Linux, ask for SIGTERM when the supervisor
    dies."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    return prepare


def _log(event: str, **fields: object) -> None:
    """Write one line as the program does: JSON, or in a terminal text."""
    if sys.stderr.isatty():
        line = f"{event} " + " ".join(f"{name}={value}" for name, value in fields.items())
    else:
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = json.dumps({**fields, "event": event, "level": "error", "logger": "supervisor", "timestamp": at})
    os.write(2, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(Supervisor(sys.argv[1:]).run())
