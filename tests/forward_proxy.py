"""A forward proxy such as HTTPS_PROXY names: CONNECT, and requests with an absolute URI. It counts what passes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from http_api.connections import close_server

HEAD_MAX = 64 * 1024


class ForwardProxy:
    """An async context manager. `passed`: the request line of each connection, such as `CONNECT 127.0.0.1:7880`."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_server(self._server)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writers)
        for each in writers:
            each.transport.abort()
        self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.partition(b"\r\n")[0].decode().split()
        self.passed.append(f"{method} {target}")
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        upstream, to_upstream = await asyncio.open_connection(url.hostname, url.port or 80)
        writers.append(to_upstream)
        if method == "CONNECT":
            writers[0].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.partition("://")[2].partition("/")[2]
            to_upstream.write(f"{method} /{path} {version}\r\n".encode() + head.partition(b"\r\n")[2])
        await asyncio.gather(_pump(reader, to_upstream), _pump(upstream, writers[0]))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(HEAD_MAX):
            target.write(chunk)
            await target.drain()
    target.close()
