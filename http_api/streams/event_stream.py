"""Server-sent events to one client: start the stream, keep it alive, and disconnect a client that does not keep up. The
data buffered for a client is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import chain

import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from http_api.app_keys import CLOCK
from http_api.limits.waiters import WAITERS
from http_api.request_context import PRINCIPAL, remote_of

log = structlog.get_logger()

HEARTBEAT = 15.0
"""Seconds between comments, which show the client and any proxies that the stream is alive."""
SEND_TIMEOUT = 5.0
"""Seconds. A client that does not receive an event, or a piece of a long one, in this time is disconnected. It may
reconnect for the current state."""
PIECE = 16 * 1024
"""Characters of a long event that are sent at once: small enough for a slow but steady client to receive in time."""
RETRY = 2_000
"""Milliseconds after which a client should reconnect when its stream breaks."""
BUFFER_MAX = 16 * 1024
"""Bytes buffered for a client in this process, in addition to one event or one piece of it."""
SOCKET_BUFFER = 32 * 1024
"""Bytes buffered for a client in the kernel, which allocates twice as many. The default would be megabytes."""
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-store, no-transform"}
"""`no-transform`: a proxy that compresses the stream would hold events back."""


class _Answer(EventSourceResponse):
    """Skips heartbeats that would fall into the middle of an event."""

    is_within_event = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_within_event:
            await super().write(data)

    async def write_within_event(self, data: bytes) -> None:
        await super().write(data)


class EventStream:
    """A response that has started. Every method raises ConnectionError when the client is gone or does not keep up."""

    def __init__(self, request: web.Request, response: _Answer) -> None:
        self.response = response
        self._request = request

    async def send(self, data: str, *, event: str | None = None, id: str | None = None) -> None:
        async with self._in_time(SEND_TIMEOUT):
            await self.response.send(data, event=event, id=id)
            await self._request.writer.drain()

    async def send_in_parts(self, event: str, parts: Iterable[str]) -> None:
        """Send one event whose data is generated while it is sent, as fast as the client receives it. `parts` must
        contain no line breaks. Yields to the event loop between pieces."""
        self.response.is_within_event = True
        try:
            for part in chain([f"event: {event}\r\ndata: "], parts, ["\r\n\r\n"]):
                for begin in range(0, len(part), PIECE):
                    await self._send_piece(part[begin : begin + PIECE].encode())
        finally:
            self.response.is_within_event = False

    async def _send_piece(self, piece: bytes) -> None:
        async with self._in_time(SEND_TIMEOUT):
            await self.response.write_within_event(piece)
            await self._request.writer.drain()
        await asyncio.sleep(0)

    async def end(self) -> None:
        """End the response properly, which distinguishes it from a broken connection."""
        async with self._in_time(SEND_TIMEOUT):
            await self.response.write_eof()

    @asynccontextmanager
    async def _in_time(self, seconds: float) -> AsyncIterator[None]:
        """Disconnect a client that does not receive in time what is written in this block."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            request = self._request
            log.info("slow_reader_cut_off", path=request.path, remote=remote_of(request))
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client does not keep up") from None


@asynccontextmanager
async def event_stream(request: web.Request) -> AsyncIterator[EventStream]:
    """The stream in response to `request`. The block ends without an error when the client disconnects, is
    disconnected, or its credentials expire. Raises TooManyStreams, Overloaded."""
    response = _Answer(send_timeout=SEND_TIMEOUT, ping_interval=HEARTBEAT)
    response.headers.update(HEADERS)
    with request.app[WAITERS].stream(request[PRINCIPAL]):
        await response.prepare(request)
        _bound_buffers(request)
        stream = EventStream(request, response)
        with suppress(ConnectionError):
            async with response:
                try:
                    async with asyncio.timeout(_credentials_last(request)) as credentials:
                        await response.write(f"retry: {RETRY}\r\n\r\n".encode())
                        yield stream
                except TimeoutError:
                    if not credentials.expired():
                        raise
                    await stream.end()  # the client reconnects and must authenticate again


def head() -> web.StreamResponse:
    """The response to HEAD where GET would get a stream."""
    return web.StreamResponse(headers=HEADERS)


def _credentials_last(request: web.Request) -> float | None:
    """Seconds until the caller's credentials expire; None: never."""
    expires_at = request[PRINCIPAL].expires_at
    return None if expires_at is None else expires_at - request.app[CLOCK]()


def _bound_buffers(request: web.Request) -> None:
    """With the default buffers, a client that never reads would go unnoticed for megabytes."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=BUFFER_MAX)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
