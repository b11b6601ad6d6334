"""A TCP proxy that misbehaves on bytes: latency, jitter, resets, black holes, half closes, slow drips.

It knows nothing of what passes, so it fits the API, webhook and signal connections alike. livekit_proxy.py is the one
for HTTP answers.

Faults are set while it runs, and hold for the connections there are and those to come: for all of them, or for those
whose first bytes begin as given. API and signal connections go to one port."""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET
from typing import Self

from http_api.connections import close_server

CHUNK = 16 * 1024


class Closing(Enum):
    """What the proxy does to a connection besides passing bytes."""

    NONE = "none"
    REFUSE = "refuse"
    """New connections are reset at once."""
    BLACK_HOLE = "black hole"
    """Bytes are taken and not passed on as long as the fault lasts, in both directions. Nothing is closed."""
    HALF_CLOSE = "half close"
    """The server's end of its side is told to the client, while the client's bytes go on."""


@dataclass(frozen=True, slots=True)
class ByteFault:
    """How bytes pass. Seconds and bytes."""

    latency: float = 0.0
    jitter: float = 0.0
    """Added to the latency of each chunk, from 0 to this, at random."""
    drip: int = 0
    """Bytes that pass at a time, each time after the latency; 0: as they come."""
    closing: Closing = Closing.NONE


CLEAN = ByteFault()


class ByteProxy:
    """An async context manager in front of 127.0.0.1:`port`. The same `seed` makes the same delays. `only`: how the
    first bytes of the connections begin for which faults hold; empty: all of them."""

    def __init__(self, port: int, *, seed: int = 0, only: tuple[bytes, ...] = ()) -> None:
        self._target, self._random, self.only = port, random.Random(seed), only
        self.fault = CLEAN
        self.accepted = 0
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_server(self._server)
        for connection in list(self._connections):
            connection.reset()
        await asyncio.gather(*(one.over.wait() for one in list(self._connections)))

    def __repr__(self) -> str:
        return f"<ByteProxy {self.port} -> {self._target} [{self.fault}, {len(self._connections)} open]>"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def set(self, fault: ByteFault) -> None:
        """From now on bytes pass so."""
        self.fault = fault
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.closing is Closing.HALF_CLOSE:
            for connection in self._faulty():
                connection.half_close()

    def reset_all(self) -> None:
        """Reset every open connection for which faults hold, on both sides."""
        for connection in self._faulty():
            connection.reset()

    def _faulty(self) -> list[_Connection]:
        return [connection for connection in self._connections if connection.is_faulty]

    async def until_passing(self) -> None:
        """Return while bytes pass."""
        while self.fault.closing is Closing.BLACK_HOLE:
            await self._changed.wait()

    def delay(self) -> float:
        """Seconds before the next chunk passes."""
        return self.fault.latency + self._random.uniform(0.0, self.fault.jitter)

    def is_for(self, first: bytes) -> bool:
        """Whether faults hold for a connection whose client begins so."""
        return first.startswith(self.only)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(self, writer)
        self._connections.add(connection)
        try:
            await connection.run(reader, self._target)
        finally:
            self._connections.discard(connection)
            connection.over.set()


class _Connection:
    def __init__(self, proxy: ByteProxy, client: asyncio.StreamWriter) -> None:
        self._proxy, self._client = proxy, client
        self._server: asyncio.StreamWriter | None = None
        self._running = asyncio.current_task()
        self.is_faulty = not proxy.only
        """Whether the proxy's faults hold for it."""
        self.over = asyncio.Event()

    async def run(self, from_client: asyncio.StreamReader, port: int) -> None:
        """Pass bytes until both sides have ended."""
        with suppress(OSError, asyncio.CancelledError):
            first = b""
            if self._proxy.only:
                first = await from_client.read(CHUNK)
                self.is_faulty = self._proxy.is_for(first)
            if self.is_faulty and self._proxy.fault.closing is Closing.REFUSE:
                self.reset()
            if self.is_faulty:
                await self._proxy.until_passing()
            from_server, self._server = await asyncio.open_connection("127.0.0.1", port)
            self._server.write(first)
            await asyncio.gather(self._pump(from_client, self._server), self._pump(from_server, self._client))
        for writer in (self._client, self._server):
            if writer is not None:
                writer.transport.abort()

    def half_close(self) -> None:
        if self._client.can_write_eof():
            with suppress(OSError):
                self._client.write_eof()

    def reset(self) -> None:
        for writer in (self._client, self._server):
            if writer is not None:
                reset(writer)
        if self._running is not None:
            self._running.cancel()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):  # the target was closed, or half closed
            while chunk := await source.read(self._piece()):
                if self.is_faulty:
                    await asyncio.sleep(self._proxy.delay())
                    await self._proxy.until_passing()
                target.write(chunk)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()

    def _piece(self) -> int:
        """The most bytes to pass at a time."""
        return self._proxy.fault.drip if self.is_faulty and self._proxy.fault.drip else CHUNK


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST instead of FIN."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
