"""Server-sent events to one reader: begun, kept alive, sent in time. Who does not keep up is cut off, and what waits
for a reader is bounded."""

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
from http_api.request_context import PRINCIPAL

log = structlog.get_logger()

HEARTBEAT = 15.0
"""Seconds between comments, which tell a reader, and whatever is in between, that the stream lives."""
SEND_TIMEOUT = 5.0
"""Seconds; a reader who does not take an event, or a piece of a long one, within them is cut off. He may come back for
the newest."""
PIECE = 16 * 1024
"""Characters of an event that is sent in parts which are sent at once: a steady reader takes them in time, however slow
he is."""
RETRY = 2_000
"""Milliseconds after which a reader whose stream broke is asked to come back."""
BUFFER_MAX = 16 * 1024
"""Bytes that wait for a reader in this process, and one event more, or one piece of it."""
SOCKET_BUFFER = 32 * 1024
"""Bytes that wait for a reader in the kernel, which takes twice as many for it; left alone it takes megabytes."""
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


class _Answer(EventSourceResponse):
    """Its heartbeat leaves out the times at which it would break an event in two."""

    is_within_event = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.is_within_event:
            await super().write(data)

    async def write_within_event(self, data: bytes) -> None:
        await super().write(data)


class EventStream:
    """An answer that has begun. Every method raises ConnectionError when the reader is gone or does not keep up."""

    def __init__(self, request: web.Request, response: _Answer) -> None:
        self.response = response
        self._request = request

    async def send(self, data: str, *, event: str | None = None, id: str | None = None) -> None:
        async with self._in_time(SEND_TIMEOUT):
            await self.response.send(data, event=event, id=id)
            await self._request.writer.drain()

    async def send_in_parts(self, event: str, parts: Iterable[str]) -> None:
        """One event whose data is made while it is sent, as fast as the reader takes it; there is no line break in any
        of `parts`. Others have their turn in between."""
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
        """The end of the answer, which a connection that breaks does not have."""
        async with self._in_time(SEND_TIMEOUT):
            await self.response.write_eof()

    @asynccontextmanager
    async def _in_time(self, seconds: float) -> AsyncIterator[None]:
        """Cuts off a reader who does not take what is written in here."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            request = self._request
            log.info("slow_reader_cut_off", path=request.path, remote=request.remote)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the reader does not keep up") from None


@asynccontextmanager
async def event_stream(request: web.Request) -> AsyncIterator[EventStream]:
    """The answer to `request`. A reader who goes away, is cut off, or whose proof expires meanwhile, ends the block,
    which is no error. Raises TooManyStreams, Overloaded."""
    response = _Answer(send_timeout=SEND_TIMEOUT, ping_interval=HEARTBEAT)
    response.headers.update(HEADERS)
    with request.app[WAITERS].stream(request[PRINCIPAL]):
        await response.prepare(request)
        _bound_buffers(request)
        stream = EventStream(request, response)
        with suppress(ConnectionError):
            async with response:
                try:
                    async with asyncio.timeout(_proved_for(request)) as proved:
                        await response.write(f"retry: {RETRY}\r\n\r\n".encode())
                        yield stream
                except TimeoutError:
                    if not proved.expired():
                        raise
                    await stream.end()  # he comes back, and is asked who he is


def head() -> web.StreamResponse:
    """What HEAD is answered where GET would be answered with a stream."""
    return web.StreamResponse(headers=HEADERS)


def _proved_for(request: web.Request) -> float | None:
    """Seconds until the proof of who is asking expires; None: it does not."""
    expires_at = request[PRINCIPAL].expires_at
    return None if expires_at is None else expires_at - request.app[CLOCK]()


def _bound_buffers(request: web.Request) -> None:
    """Otherwise a reader who never reads would be noticed after megabytes."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=BUFFER_MAX)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
