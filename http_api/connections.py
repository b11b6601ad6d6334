"""One client's connection: bounds on its headers and on the time that it is idle, and problems for malformed requests.

aiohttp has no time limit for headers, no limit on all of them together, and no count of idle connections.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from http_api.errors import HeaderTooLarge, MalformedRequest, SlowHeaders, TooManyHeaders, UriTooLong
from http_api.observability.logs.access import AccessLog
from http_api.problems.problems import answer_to
from http_api.request_context import REQUEST_ID

log = structlog.get_logger()

HEADER_MAX = 32 * 1024
"""Bytes of one header: cookies and tokens of some identity providers have 20 KiB."""
HEADERS_MAX = 64 * 1024
"""Bytes of all headers together, with the request line."""
COUNT_MAX = 128
"""Headers."""
URI_MAX = 8_190
"""Bytes of the path and query."""
HEADERS_TIMEOUT = 15.0
"""Seconds from the first byte of a request to the end of its headers."""
LINGER_TIMEOUT = 2.0
"""Seconds for which the rest of a request that was refused is received and dropped: if the connection were closed with
data unread, the client would see a reset instead of the response."""
IDLE_TIMEOUT = 75.0
"""Seconds between two requests, or before the first. Longer than the 60 s of common proxies: the side that sends
requests should be the first to close."""
IDLE_MAX = 1_000
"""The most connections without a request. The one that is idle for longest is closed first."""
IDLE_MIN = 5.0
"""Seconds that a connection is left alone: its request may be on its way."""
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):")
"""The beginning of a header. A request line has a space after the method."""
ACCEPT_STEPS = 5
"""Iterations of the event loop from accept() to connection_made() and the first step of a handler, and one more."""
NAME_SHOWN = 64
TOO_MANY_HEADERS = "Too many headers"
"""The beginning of aiohttp's message, the only sign of this error."""
OURS = (HeaderTooLarge, UriTooLong, SlowHeaders)


class IdleConnections:
    """The connections without a request, and since when, the longest idle first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._since: dict[ClientConnection, float] = {}
        self._later: asyncio.TimerHandle | None = None

    def add(self, connection: ClientConnection) -> None:
        self._since.pop(connection, None)
        self._since[connection] = self._loop.time()
        if len(self._since) > IDLE_MAX:
            self._close_some()

    def discard(self, connection: ClientConnection) -> None:
        self._since.pop(connection, None)

    def _close_some(self) -> None:
        while len(self._since) > IDLE_MAX:
            oldest, since = next(iter(self._since.items()))
            if since + IDLE_MIN > self._loop.time():
                if self._later is None:
                    self._later = self._loop.call_at(since + IDLE_MIN, self._try_again)
                return
            self.discard(oldest)
            oldest.force_close()

    def _try_again(self) -> None:
        self._later = None
        self._close_some()


async def close_server(server: asyncio.Server) -> None:
    """Accept no more connections. Those that are accepted at this moment are made first: Server.close() would forget
    their sockets without closing them (Server._attach() fails then, CPython 3.11)."""
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(ACCEPT_STEPS):
        await asyncio.sleep(0)
    server.close()


class ClientConnection(RequestHandler):
    """Responds with problem+json even when no middleware runs."""

    __slots__ = ("_body", "_gone", "_headers_size", "_headers_timer", "_idle", "_is_refused", "_line")

    def __init__(self, server: web.Server, idle: IdleConnections, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log_class=AccessLog,
            keepalive_timeout=IDLE_TIMEOUT,
            max_line_size=URI_MAX,
            max_field_size=HEADER_MAX,
            max_headers=COUNT_MAX,
            auto_decompress=False,  # bodies.py refuses every coding
        )
        self._idle = idle
        self._headers_timer: asyncio.TimerHandle | None = None
        self._headers_size = 0
        """Bytes received of the headers of the next request."""
        self._line = b""
        """The last line of them, as far as it was received."""
        self._body: StreamReader = EMPTY_PAYLOAD
        """The body of the latest request, which may still be arriving after the response."""
        self._is_refused = False
        self._gone: asyncio.Future[None] | None = None
        """Waits for the end of the connection: only that of a request that was refused is waited for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._idle.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._idle.discard(self)
        self._headers_end()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        # More of a request whose headers were read, or a request sent ahead of its response.
        is_after = self._request_in_progress or self._messages or not self._body.is_eof()
        super().data_received(data)
        if self._messages:
            self._body = self._messages[-1][1]
        if is_after:
            return
        if self._messages:
            message, _ = self._messages[-1]
            if isinstance(message, _ErrInfo) and isinstance(message.exc, LineTooLong):
                self._messages[-1] = _error(_too_large(self._line + data))
            self._idle.discard(self)
            self._headers_end()
        elif not (self._close or self._force_close) and data:
            self._headers_go_on(data)

    def _headers_go_on(self, data: bytes) -> None:
        if self._headers_timer is None:
            self._headers_timer = self._loop.call_later(HEADERS_TIMEOUT, self._refuse, SlowHeaders(HEADERS_TIMEOUT))
        self._line = (self._line + data).rpartition(b"\n")[2]
        self._headers_size += len(data)
        if self._headers_size > HEADERS_MAX:
            self._refuse(HeaderTooLarge(None, HEADERS_MAX))

    def _headers_end(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
        self._headers_timer, self._headers_size, self._line = None, 0, b""

    def _refuse(self, error: Exception) -> None:
        """Respond to a request whose headers are not complete, and close."""
        self._headers_end()
        self._idle.discard(self)
        self._messages.append(_error(error))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = answer_to(request, resp)  # an unknown Expect header
        finished = await super().finish_response(request, resp, start_time)
        if self._is_refused:
            await self._linger()
            return finished
        if self.transport is not None and not self._messages:
            self._idle.add(self)
        return finished

    async def _linger(self) -> None:
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
            self._gone = self._loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_TIMEOUT):
                    await self._gone

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionResetError("the response was interrupted") from exc  # problems.py has logged why
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        error = exc if isinstance(exc, OURS) else MalformedRequest("this is not HTTP/1.1")
        if message is not None and message.startswith(TOO_MANY_HEADERS):
            error = TooManyHeaders(COUNT_MAX)
        response = answer_to(request, error)
        log.debug("malformed_request", request_id=request[REQUEST_ID], remote=request.remote, error=repr(exc))
        response.force_close()
        self._is_refused = True
        return response


def _error(error: Exception) -> tuple[RawRequestMessage | _ErrInfo, StreamReader]:
    """What aiohttp queues in place of a request that it can't read."""
    return _ErrInfo(status=HTTPStatus.BAD_REQUEST, exc=error, message=""), EMPTY_PAYLOAD


def _too_large(received: bytes) -> Exception:
    """The error for the part of a request that has a line above its limit. The name of the header is the client's
    own."""
    for line in received.split(b"\n"):
        named = HEADER_LINE.match(line)
        if named and len(line) > HEADER_MAX:
            return HeaderTooLarge(named[1][:NAME_SHOWN].decode(), HEADER_MAX)
    return UriTooLong(URI_MAX)
