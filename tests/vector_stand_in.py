"""Vector as a log shipper sees it: an http_server source with `decoding.codec: json`, and what can be wrong with it.

It behaves as Vector 0.58 was seen to: a batch is taken whole or not at all. docs/vector.md says what follows from that.
"""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, Self

import aiohttp
from aiohttp import web

from tests.waiting import described, waiting_for

NESTING_MAX = 128
"""The limit of Vector's JSON parser."""
BODY_MAX = 100 * 1024 * 1024

Event = dict[str, Any]
Behavior = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers a batch; None: it is to be looked at as usual."""


class Unreadable(Exception):
    """The batch is refused."""


# -- what may be the matter -------------------------------------------------------------------------------------


async def well(_: web.Request) -> None:
    """Read every batch, and take it if it is valid."""


async def hang(_: web.Request) -> web.Response:
    """Backpressure, as Vector has it: no answer, until the connection is closed."""
    await asyncio.Event().wait()
    raise AssertionError


async def reset(request: web.Request) -> web.Response:
    """The connection breaks, as at its end."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def drip(request: web.Request) -> web.Response:
    """An answer that comes byte by byte, without an end."""
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while not request.transport.is_closing():
        request.transport.write(b"x")
        await asyncio.sleep(0.02)
    return web.Response()


def answering(status: int, **headers: str) -> Behavior:
    """Whatever comes."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def slow(seconds: float) -> Behavior:
    async def wait(_: web.Request) -> None:
        await asyncio.sleep(seconds)

    return wait


# -- Vector -------------------------------------------------------------------------------------------------------


class VectorStandIn:
    """Listens on a port of its own: an async context manager. It can be stopped, and started again on that port.

    `path`: the only one that is taken. `authorization`: the header that is asked for. `is_own_api`: it is not a source
    at all but Vector's own API.
    """

    def __init__(
        self, *, path: str = "/", authorization: str = "", is_own_api: bool = False, body_max: int = BODY_MAX
    ) -> None:
        self.events: list[Event] = []
        """All accepted events in order of arrival."""
        self.statuses: list[int] = []
        """The statuses of the answered batches."""
        self.looks: list[str] = []
        """The paths of its GET requests: a real source logs an error for each but `/ping`."""
        self.requests = 0
        """Batches that have come, answered or not."""
        self.behavior: Behavior = well
        self.port = 0
        self._path, self._authorization, self._body_max = path, authorization, body_max
        self.is_own_api = is_own_api
        self._runner: web.AppRunner | None = None
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"<VectorStandIn {self.url} [{len(self.events)} events, answered {self.statuses}]>"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [event["event"] for event in self.events]

    async def start(self) -> None:
        app = web.Application(client_max_size=self._body_max)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("*", "/{path:.*}", self._receive)
        # Its bodies are Vector's to unpack, or to refuse.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1, auto_decompress=False, access_log=None
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Afterwards connections to its port are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once what has come is as wanted. Raises AssertionError with what has come."""
        async with waiting_for(described(holds), lambda: (self, self.names[-20:])), self._news:
            await self._news.wait_for(holds)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        if not self.is_own_api:
            return await self._receive(request)
        self.looks.append(request.path)
        return web.json_response({"ok": True})

    async def _ping(self, request: web.Request) -> web.Response:
        self.looks.append(request.path)
        await self._tell()
        return web.Response(text="" if self.is_own_api else "pong")

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        is_batch = request.method == "POST"
        self.looks += [] if is_batch else [request.path]
        self.requests += is_batch
        await self._tell()
        answer = await self.behavior(request)
        if answer is None:
            answer = web.Response(status=await self._status(request))
        if is_batch:
            self.statuses.append(answer.status)
        await self._tell()
        return answer

    async def _status(self, request: web.Request) -> int:
        if self.is_own_api:
            return 200
        if request.path != self._path:
            return 404 if self._path == "/" else 405
        if request.method != "POST":
            return 405
        if request.headers.get("Authorization", "") != self._authorization:
            return 401
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return 413
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding not in ("gzip", "identity"):
            return 415
        try:
            text = zlib.decompress(body, wbits=31) if encoding == "gzip" else body
        except zlib.error:
            return 422
        try:
            self.events += events_of(text)
        except Unreadable:
            return 400
        return 200

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def events_of(body: bytes) -> list[Event]:
    """The events that Vector's JSON codec reads from a body. Raises Unreadable for the whole batch."""
    events: list[Event] = []
    for line in body.split(b"\n"):
        if not line:
            continue
        content = _strict(line)
        events += content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise Unreadable("an event is an object")
    return events


def _strict(line: bytes) -> Any:
    """The one JSON value on a line, as a parser sees it that keeps to RFC 8259."""
    try:
        content = json.loads(line.decode(), parse_constant=_not_json, parse_float=_finite)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    if _depth(content) >= NESTING_MAX:
        raise Unreadable("nested too deep")
    return content


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _depth(content: Any) -> int:
    match content:
        case dict():
            return 1 + max(map(_depth, content.values()), default=0)
        case list():
            return 1 + max(map(_depth, content), default=0)
    return 0


async def post(url: str, body: bytes, **headers: str) -> int:
    """Sends it once; the status of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=named, compress=False) as answer:
        return answer.status
