"""Server-sent events to one client: start the stream, keep it alive, and disconnect a client that does not keep up. The
data buffered for a client is bounded.

Thousands of clients may follow, so a stream keeps little while it waits: no task, no timer and no generator of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from itertools import chain
from types import TracebackType
from typing import Any

import structlog
from aiohttp import ClientConnectionResetError, hdrs, web
from multidict import istr

from http_api.app_keys import CLOCK
from http_api.limits.waiters import WAITERS
from http_api.request_context import PRINCIPAL, remote_of
from http_api.streams.heartbeats import HEARTBEATS

log = structlog.get_logger()

SEND_TIMEOUT = 5.0
"""Seconds. A client that does not receive an event, or a piece of a long one, in this time is disconnected. It may
reconnect for the current state."""
PIECE = 16 * 1024
"""Characters of a long event that are sent at once: small enough for a slow but steady client to receive in time."""
RETRY = 2_000
"""Milliseconds after which a client should reconnect when its stream breaks."""
BUFFER_MAX = 16 * 1024
"""Bytes buffered for a client in this process, in addition to one event or one piece of it."""
NO_WAIT_MAX = BUFFER_MAX // 2
"""Bytes that certainly fit into that buffer, with what HTTP adds: writing them can't wait, and needs no timeout. A
client that had to be waited for has received all but so many before anything else is written."""
SOCKET_BUFFER = 32 * 1024
"""Bytes buffered for a client in the kernel, which allocates twice as many. The default would be megabytes."""
HEADERS = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-cache, no-store, no-transform"}
"""`no-transform`: a proxy that compresses the stream would hold events back."""
STREAM_HEADERS = HEADERS | {hdrs.CONNECTION: "keep-alive", istr("X-Accel-Buffering"): "no"}
PING = b": ping\r\n\r\n"
TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux only


class EventStream:
    """A stream as the response to a request. `async with` starts it and ends it properly. A client that is gone or does
    not keep up, and credentials that expire, end the block without an error.

    To enter raises TooManyStreams, Overloaded. Every method raises ConnectionError when the client is gone or does not
    keep up.
    """

    __slots__ = ("_credentials", "_heartbeats", "_request", "response")

    def __init__(self, request: web.Request) -> None:
        self.response = web.StreamResponse(headers=STREAM_HEADERS)
        self._request, self._heartbeats = request, request.app[HEARTBEATS]
        self._credentials: asyncio.Timeout | None = None
        """None: they don't expire."""

    async def __aenter__(self) -> EventStream:
        request = self._request
        waiters, principal = request.app[WAITERS], request[PRINCIPAL]
        waiters.stream_begins(principal)
        try:
            await self.response.prepare(request)
            self.response.headers.clear()  # they are sent, and thousands of streams would keep them
            _bound_buffers(request)
            _limit_unacknowledged(request, SEND_TIMEOUT)
            if principal.expires_at is not None:
                self._credentials = asyncio.timeout(principal.expires_at - request.app[CLOCK]())
                await self._credentials.__aenter__()
        except BaseException:
            waiters.stream_ends(principal)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool:
        self._heartbeats.stop(self)
        try:
            if await self._stop_timing(kind, error, at) or error is None:
                await self._end()
                return True
        except ConnectionError:
            return True
        finally:
            self._request.app[WAITERS].stream_ends(self._request[PRINCIPAL])
        return isinstance(error, ConnectionError)

    async def send(self, data: str, *, event: str | None = None, id: str | None = None) -> None:
        """Send an event. `data` must contain no line breaks."""
        self._heartbeats.restart(self)
        await self._write(event_of(data, event=event, id=id))

    def send_now(self, event: bytes) -> bool:
        """Send an event if the client has received enough of the earlier ones. Returns whether it was sent."""
        if not self._has_room(len(event)):
            return False
        self._heartbeats.restart(self)
        _run_at_once(self.response.write(event))
        return True

    async def send_retry(self) -> None:
        self._heartbeats.restart(self)
        await self._write(f"retry: {RETRY}\r\n\r\n".encode())

    async def send_heartbeat(self) -> None:
        """Show that the stream is alive. Never waits: there is room, or the client has received nothing for long."""
        if self._has_room(len(PING)):
            await self.response.write(PING)
        else:
            self._cut_off()

    async def send_in_parts(self, event: str, parts: Iterable[str]) -> None:
        """Send one event whose data is generated while it is sent, as fast as the client receives it. `parts` must
        contain no line breaks. Yields to the event loop between pieces."""
        self._heartbeats.stop(self)  # none gets into the event
        for part in chain([f"event: {event}\r\ndata: "], parts, ["\r\n\r\n"]):
            for begin in range(0, len(part), PIECE):
                await self._write(part[begin : begin + PIECE].encode())
                await asyncio.sleep(0)
        self._heartbeats.restart(self)

    async def _write(self, data: bytes) -> None:
        if self._has_room(len(data)):
            await self.response.write(data)
            return
        async with self._in_time(SEND_TIMEOUT):
            await self.response.write(data)
            await self._request.writer.drain()

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes can be written without waiting."""
        transport = self._request.transport
        if transport is None:
            raise ClientConnectionResetError
        return transport.get_write_buffer_size() + size <= NO_WAIT_MAX

    async def _stop_timing(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool:
        """End the time of the credentials. Returns whether the block ends because they have expired: the client
        reconnects and must authenticate again."""
        if self._credentials is None:
            return False
        try:
            await self._credentials.__aexit__(kind, error, at)
        except TimeoutError:
            return True
        return False

    async def _end(self) -> None:
        """End the response properly, which distinguishes it from a broken connection."""
        async with self._in_time(SEND_TIMEOUT):
            await self.response.write_eof()
        _limit_unacknowledged(self._request, 0)  # the client's next request may use this connection

    @asynccontextmanager
    async def _in_time(self, seconds: float) -> AsyncIterator[None]:
        """Disconnect a client that does not receive in time what is written in this block."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self._cut_off()
            raise ConnectionResetError("the client does not keep up") from None

    def _cut_off(self) -> None:
        request = self._request
        log.info("slow_reader_cut_off", path=request.path, remote=remote_of(request))
        if request.transport is not None:
            request.transport.abort()


def event_of(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    """An event as it is sent. `data` must contain no line breaks. PURE."""
    name = "" if event is None else f"event: {event}\r\n"
    number = "" if id is None else f"id: {id}\r\n"
    return f"{number}{name}data: {data}\r\n\r\n".encode()


def head() -> web.StreamResponse:
    """The response to HEAD where GET would get a stream."""
    return web.StreamResponse(headers=HEADERS)


def _run_at_once(writing: Coroutine[Any, Any, None]) -> None:
    """Run what has nothing to wait for, without a task."""
    try:
        writing.send(None)
    except StopIteration:
        return
    writing.close()
    raise RuntimeError("there was no room")


def _bound_buffers(request: web.Request) -> None:
    """With the default buffers, a client that never reads would go unnoticed for megabytes."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=BUFFER_MAX, low=NO_WAIT_MAX)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)


def _limit_unacknowledged(request: web.Request, seconds: float) -> None:
    """Let the kernel break the connection once what was sent is unacknowledged for so long (0: its default): a client
    that is gone without a word is noticed although the buffers are not full."""
    if TCP_USER_TIMEOUT is not None and request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(seconds * 1_000))
