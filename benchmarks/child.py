"""A program in a fresh process of its own: lines go to its stdin, lines come from its stdout.

So one design under test disturbs no other, and its cost is seen from the outside. What it logs goes into a
file, the end of which is shown when it fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jwt import InsecureKeyLengthWarning

from scripts.livekit_server import ROOT

START_TIMEOUT = 60.0
"""Seconds; a fresh interpreter with the SDK takes two of them, and several times that on a busy machine."""
READY = "ready"
LOG_SHOWN = 2_000
"""Characters."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

T = TypeVar("T")


def run(measuring: Coroutine[Any, Any, T]) -> T:
    """asyncio.run() for a process that starts others: it ends them too when it is asked to end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # `secret`, the secret of `livekit-server --dev`, is shorter than PyJWT would have it.
    warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)
    try:
        return asyncio.run(measuring)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


class ChildEnded(Exception):
    """The process has ended; the message has the end of its log."""


class Child:
    """The parent's side."""

    def __init__(self, process: Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._process, self._log = process, log
        self._to, self._from = process.stdin, process.stdout

    def tell(self, line: str) -> None:
        self._to.write(line.encode() + b"\n")

    async def heard(self) -> str:
        """The next line of the child. Raises ChildEnded at the end of its output."""
        line = await self._from.readline()
        if not line:
            await self.ended()
        return line.decode().rstrip("\n")

    async def meanwhile(self, doing: Coroutine[Any, Any, T]) -> T:
        """The result of `doing`. Raises ChildEnded if the child ends before."""
        tasks = task, ended = asyncio.create_task(doing), asyncio.create_task(self.ended())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return await ended if ended.done() else await task
        finally:
            task.cancel()
            ended.cancel()

    async def ended(self) -> NoReturn:
        """Wait for the end of the process, then raise ChildEnded."""
        status = await self._process.wait()
        why = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        end = self._log.read_text(errors="replace")[-LOG_SHOWN:]
        raise ChildEnded(f"a process under test has ended, {why}; the end of {self._log}:\n{end}")

    async def ready(self) -> None:
        """Return once the child has said that it is ready. Raises ChildEnded, TimeoutError."""
        async with asyncio.timeout(START_TIMEOUT):
            while await self.heard() != READY:
                pass


@asynccontextmanager
async def running(
    module: str, *arguments: str, log: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Child]:
    """`python -m module arguments...`, killed at the end with everything that it has started."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            cwd=ROOT,
            env=os.environ | (environment or {}),
            process_group=0,
        )
    try:
        yield Child(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group that process_group has made for it
        await process.wait()


async def told() -> AsyncIterator[str]:
    """The child's side: say ready, then yield each line of the parent until the parent is gone."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say(READY)
    while line := await lines.readline():
        yield line.decode().rstrip("\n")


def say(line: str) -> None:
    print(line, flush=True)
