"""Run a program in a separate process and exchange lines with it over stdin and stdout.

Separate processes keep the designs under test from affecting one another, and their cost can be measured from outside.
The program's log goes into a file, whose end is shown when it fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jwt import InsecureKeyLengthWarning

from scripts.repository import ROOT

START_TIMEOUT = 60.0
"""Seconds. A new interpreter with the SDK starts in two, and takes several times as long on a busy machine."""
READY = "ready"
LOG_SHOWN = 2_000
"""Characters of the log's end that are shown."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""

T = TypeVar("T")


def run(measuring: Coroutine[Any, Any, T]) -> T:
    """asyncio.run() for a process with child processes: SIGTERM also ends the children."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # `secret`, the secret of `livekit-server --dev`, is shorter than PyJWT recommends.
    warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)
    try:
        return asyncio.run(measuring)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


class ChildEnded(Exception):
    """The child process has exited. The message contains the end of its log."""


class Child:
    """A child process, as its parent sees it."""

    def __init__(self, process: Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._process, self._log = process, log
        self._to, self._from = process.stdin, process.stdout

    def send(self, line: str) -> None:
        self._to.write(line.encode() + b"\n")

    async def receive(self) -> str:
        """The next line of its stdout. Raises ChildEnded at the end."""
        line = await self._from.readline()
        if not line:
            await self.ended()
        return line.decode().rstrip("\n")

    async def meanwhile(self, doing: Coroutine[Any, Any, T]) -> T:
        """The result of `doing`. Raises ChildEnded if the child exits first."""
        tasks = task, ended = asyncio.create_task(doing), asyncio.create_task(self.ended())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return await ended if ended.done() else await task
        finally:
            task.cancel()
            ended.cancel()

    async def ended(self) -> NoReturn:
        """Wait until it exits. Always raises ChildEnded."""
        status = await self._process.wait()
        why = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        end = self._log.read_text(errors="replace")[-LOG_SHOWN:]
        raise ChildEnded(f"a process under test has exited ({why}); the end of {self._log}:\n{end}")

    async def ready(self) -> None:
        """Wait until it reports that it is ready. Raises ChildEnded, TimeoutError."""
        async with asyncio.timeout(START_TIMEOUT):
            while await self.receive() != READY:
                pass


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: that of this process, and more. Its modules are compiled once and kept, as those of
    an installed program are: to compile them at each start would take a second."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | dict(more)


@asynccontextmanager
async def running(
    module: str, *arguments: str, log: Path, environment: dict[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run `python -m module arguments...`. At the end, kill it together with its child processes."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            cwd=ROOT,
            env=environment_with(environment or {}),
            process_group=0,
        )
    try:
        yield Child(process, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group, see process_group
        await process.wait()


async def commands() -> AsyncIterator[str]:
    """In the child: report that it is ready, then yield the parent's lines until the parent closes stdin."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say(READY)
    while line := await lines.readline():
        yield line.decode().rstrip("\n")


def say(line: str) -> None:
    print(line, flush=True)
