"""What stands before several servers: it gives each new connection to one of them, as a Kubernetes Service does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpFront:
    """Forwards each connection to the port of 127.0.0.1 that `target` chooses."""

    def __init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    async def target(self) -> int:
        """The port of the server that gets the next connection. Raises OSError if there is none."""
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """The URL to call. `port`: to listen on; 0: any."""
        server = await asyncio.start_server(self._take, "127.0.0.1", port)
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
            from_target, to_target = await asyncio.open_connection("127.0.0.1", await self.target())
            writers.append(to_target)
            await asyncio.gather(_pass(reader, to_target), _pass(from_target, writer))
        except (OSError, asyncio.CancelledError):
            return  # the server has ended, or the test: the client's connection ends too
        finally:
            for one in writers:
                one.transport.abort()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()
