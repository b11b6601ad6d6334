"""One call of the API: sent, tried again while that may help, and what answers it."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import stamina
from aiohttp.http import HttpProcessingError
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from http_api.client.errors import ApiError, Unreachable
from http_api.client.sse import Event, EventReader
from http_api.errors import IdempotencyConflict
from http_api.problems.table import API_ERRORS

PAUSE_FIRST, PAUSE_MAX, PAUSE_JITTER = 0.1, 2.0, 0.1
CONNECT_TIMEOUT = 5.0
SILENCE_MAX = 45.0
"""Seconds without a byte, not even a heartbeat, after which a stream of events is taken for dead."""
LINE_MAX = 32 * 1024 * 1024
"""Bytes of one line of a stream: the feed begins with all sessions in one."""
OVERLOADED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
STILL_RUNNING = API_ERRORS[IdempotencyConflict].slug
"""The request was sent before, and is not answered yet."""

T = TypeVar("T")


class _NoAnswer(Unreachable):
    """The one kind of it that another try may mend."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx or a 304."""

    status: int
    body: bytes
    url: URL

    def read(self, shape: TypeAdapter[T]) -> T:
        """Raises Unreachable when that is not what is in it."""
        return read(self.body, shape, self.url)


class Calls:
    """The HTTP session of one client: an async context manager."""

    def __init__(self, url: str, api_key: str | None, *, timeout: float, max_wait: float) -> None:
        self.url = _checked(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout, self._patience = timeout, max_wait
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> Reply:
        """`wait`: seconds for which the server was asked to wait. Raises Problem, Unreachable."""
        timeout = aiohttp.ClientTimeout(total=self._timeout + wait, sock_connect=CONNECT_TIMEOUT)
        options = {"json": body, "params": query, "headers": headers, "timeout": timeout}
        async for attempt in self._tries():
            with attempt, self._reaching():
                async with await self._open(method, path, options) as response:
                    return Reply(response.status, await response.read(), response.url)
        raise AssertionError("the last try raises")

    @asynccontextmanager
    async def stream(self, *path: str, after: str = "") -> AsyncIterator[AsyncIterator[Event] | None]:
        """The events after the one with the id `after`, until the stream breaks off; None when the server says that
        there is nothing more. Raises Problem, Unreachable."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=SILENCE_MAX)
        options = {"headers": headers, "timeout": timeout}
        async with await self._opened("GET", path, options) as response:
            yield None if response.status == HTTPStatus.NO_CONTENT else _events(response)

    async def _opened(self, method: str, path: tuple[str, ...], options: dict[str, Any]) -> aiohttp.ClientResponse:
        async for attempt in self._tries():
            with attempt, self._reaching():
                return await self._open(method, path, options)
        raise AssertionError("the last try raises")

    async def _open(self, method: str, path: tuple[str, ...], options: dict[str, Any]) -> aiohttp.ClientResponse:
        """One try; the body is not read yet. Raises Problem, and what aiohttp does."""
        assert self._http is not None, "use it as `async with Client(...) as client`"
        url = self.url.joinpath(*(quote(part, safe="") for part in path), encoded=True)
        # An API key is for this server, and for none that it might name.
        response = await self._http.request(method, url, allow_redirects=False, **options)
        if response.status < HTTPStatus.MULTIPLE_CHOICES or response.status == HTTPStatus.NOT_MODIFIED:
            return response
        async with response:
            after = response.headers.get("Retry-After", "")
            raise ApiError.of_answer(
                response.status, await response.read(), retry_after=float(after) if after.isdecimal() else None
            )

    def _tries(self) -> AsyncIterator[Any]:
        return aiter(
            stamina.retry_context(
                on=self._pause_after,
                attempts=None if self._patience else 1,
                timeout=self._patience or None,
                wait_initial=PAUSE_FIRST,
                wait_max=PAUSE_MAX,
                wait_jitter=PAUSE_JITTER,
            )
        )

    def _pause_after(self, error: Exception) -> bool | float:
        """Whether to try again, and in how many seconds where the server has said so."""
        if not isinstance(error, ApiError):
            return isinstance(error, _NoAnswer)
        passes = error.status in OVERLOADED or error.slug == STILL_RUNNING
        if not passes or error.retry_after is None or error.retry_after > self._patience:
            return False
        return error.retry_after

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Without the cause, as aiohttp's errors show the headers of the request, and so the key."""
        try:
            yield
        except TimeoutError:
            raise _NoAnswer(f"{self.url} does not answer in time") from None
        except aiohttp.ClientError as error:
            raise _NoAnswer(f"{self.url} can't be reached: {_why(error)}") from None


def read(raw: str | bytes, shape: TypeAdapter[T], url: URL) -> T:
    """Fields that this version does not know are left out. Raises Unreachable when it is nothing of that shape."""
    try:
        return shape.validate_json(raw, extra="ignore")
    except ValidationError:
        raise Unreachable(f"what answers at {url.origin()} is no session manager, or one of another version") from None


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    reader = EventReader()
    try:
        while line := await response.content.readline(max_line_length=LINE_MAX):
            if event := reader.line(line.decode(errors="replace")):
                yield event
    except (aiohttp.ClientError, TimeoutError, HttpProcessingError):  # the last one for a line that has no end
        return


def _checked(url: str) -> URL:
    """Raises ValueError."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("the URL of a session manager is such as http://localhost:8080")
    if parsed.user is not None or parsed.password is not None or parsed.query_string or parsed.fragment:
        raise ValueError("the URL of a session manager has no user or password, query or fragment")
    return parsed


def _why(error: aiohttp.ClientError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return type(error).__name__
