"""/api/v1/sessions/{session_id}/events: a session as it is, and again after each change, as server-sent events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from http_api import keys
from http_api.ownership import session_of
from http_api.views import SessionView
from manager_agent.session import Session
from manager_agent.store import UnknownSession

log = structlog.get_logger()

HEARTBEAT = 15.0
"""Seconds between comments, which tell a reader, and whatever is in between, that the stream lives."""
SEND_TIMEOUT = 5.0
"""Seconds; a reader who does not take an event within them is cut off. He may come back for the newest."""
RETRY = 2_000
"""Milliseconds after which a reader whose stream broke is asked to come back."""
BUFFER_MAX = 16 * 1024
"""Bytes that wait for a reader in this process, and one event more."""
SOCKET_BUFFER = 32 * 1024
"""Bytes that wait for a reader in the kernel, which takes twice as many for it; left alone it takes megabytes."""
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


async def follow(request: web.Request) -> web.StreamResponse:
    """Follows a session as server-sent events.

    The first event is the session as it is, each further one the session after a change, the last one its end. `data`
    is the session as in a list, never with a token, and `id` its revision. Changes that follow each other faster than
    they can be sent are one event. Who comes back with `Last-Event-ID` is told only what is new to him: nothing before
    the next change, and 204 when the session is over and he has seen its end, which tells an EventSource to stop.
    """
    session, seen = session_of(request), request.headers.get("Last-Event-ID")
    if session.over and seen == str(session.revision):
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={"Cache-Control": "no-store"})
    if request.method == "HEAD":
        return web.StreamResponse(headers=HEADERS)
    stream = EventSourceResponse(send_timeout=SEND_TIMEOUT, ping_interval=HEARTBEAT)
    stream.headers.update(HEADERS)
    with request.app[keys.WAITERS].place():
        await stream.prepare(request)
        _bound_buffers(request)
        with suppress(UnknownSession, ConnectionError):  # it is forgotten, or its reader is gone
            async with stream:
                await _tell(request, stream, session.session_id, seen)
    return stream


async def _tell(request: web.Request, stream: EventSourceResponse, session_id: str, seen: str | None) -> None:
    """Sends the session whenever it is another than was seen, until it is over. Raises ConnectionError when the reader
    is gone or does not keep up, and UnknownSession."""
    store, over = request.app[keys.STORE], False
    await stream.write(f"retry: {RETRY}\r\n\r\n".encode())
    while not over:
        session = await store.wait_for(session_id, _other_than(seen))
        seen, over = str(session.revision), session.over
        async with _in_time(request):
            await stream.send(SessionView.of(session).model_dump_json(), id=seen)
            await request.writer.drain()
    async with _in_time(request):
        await stream.write_eof()


def _other_than(seen: str | None) -> Callable[[Session], bool]:
    return lambda session: str(session.revision) != seen


@asynccontextmanager
async def _in_time(request: web.Request) -> AsyncIterator[None]:
    """Cuts off a reader who does not take what is written in here."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            yield
    except TimeoutError:
        log.info("slow_reader_cut_off", path=request.path, remote=request.remote)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader does not keep up") from None


def _bound_buffers(request: web.Request) -> None:
    """Otherwise a reader who never reads would be noticed after megabytes."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=BUFFER_MAX)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
