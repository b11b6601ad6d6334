"""Services in processes of their own (puppet.py), to be started, killed and frozen by tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Self

from scripts.repository import ROOT
from tests.waiting import waiting_for


class Puppet:
    """One service in a process of its own. An async context manager that kills it at the end."""

    def __init__(self, manager_url: str, service_id: str, **options: str) -> None:
        self.service_id = service_id
        self.printed: list[str] = []
        self._command = ["-m", "tests.live.puppet", "--manager", manager_url, "--service-id", service_id]
        for name, value in options.items():
            self._command += [f"--{name.replace('_', '-')}", value]
        self._news = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<Puppet {self.service_id} {self.printed}>"

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        await self.prints("registered")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    @property
    def invites(self) -> list[str]:
        """The ids of the invites it received, one for each time."""
        return [line for line in self.printed if line.startswith("inv_")]

    async def prints(self, beginning: str, times: int = 1) -> None:
        """Return once the process has printed so many lines with this beginning."""
        async with waiting_for(f"{times} lines {beginning}... of {self.service_id}", lambda: self.printed), self._news:
            await self._news.wait_for(lambda: sum(line.startswith(beginning) for line in self.printed) >= times)

    async def is_invited(self) -> None:
        await self.prints("inv_")

    async def has_joined(self) -> None:
        await self.prints("joined")

    def kill(self) -> None:
        """Send SIGKILL: the service ends without leaving its room."""
        self._process.kill()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._news:
                self.printed.append(line.decode().strip())
                self._news.notify_all()
