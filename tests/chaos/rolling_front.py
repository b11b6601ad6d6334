"""What stands before the processes of a deployment: it gives each new connection to one that is ready, as a Kubernetes
Service does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.live.manager_process import ManagerProcess


class RollingFront:
    """Forwards connections to the newest process of `processes` that is ready, else to the newest."""

    def __init__(self) -> None:
        self.processes: list[ManagerProcess] = []
        """Oldest first."""
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The URL to call."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        writers = [writer]
        try:
            target = await self._target()
            from_target, to_target = await asyncio.open_connection("127.0.0.1", target.port)
            writers.append(to_target)
            await asyncio.gather(_pass(reader, to_target), _pass(from_target, writer))
        except (OSError, asyncio.CancelledError):
            return  # the process has ended, or the test: the client's connection ends too
        finally:
            for one in writers:
                one.transport.abort()

    async def _target(self) -> ManagerProcess:
        for process in reversed(self.processes):
            if await process.is_ready():
                return process
        return self.processes[-1]


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
