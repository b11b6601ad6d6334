"""One API call: send, retry while that may help, read the response."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp.http import HttpProcessingError
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from session_manager_client.errors import ApiError, Unreachable
from session_manager_client.network_errors import why_not_reached
from session_manager_client.proxies import ProxyOf
from session_manager_client.sse import Event, EventReader

PAUSE_FIRST, PAUSE_MAX, PAUSE_JITTER = 0.1, 2.0, 0.1
CONNECT_TIMEOUT = 5.0
SILENCE_MAX = 45.0
"""Seconds without a byte, heartbeats included, after which an event stream counts as dead."""
LINE_MAX = 32 * 1024 * 1024
"""Bytes of one line of a stream: the feed starts with all sessions in one line."""
OVERLOADED = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
STILL_RUNNING = "idempotency_conflict"
"""An earlier request with the same idempotency key is still running."""

T = TypeVar("T")


class _NoAnswer(Unreachable):
    """No response arrived: another try may help, unlike after other Unreachable errors."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx or 304 response."""

    status: int
    body: bytes
    url: URL

    def read(self, shape: TypeAdapter[T]) -> T:
        """The body as this type. Raises Unreachable if it has another shape."""
        return read(self.body, shape, self.url)


class Calls:
    """The HTTP session of one client: an async context manager."""

    def __init__(self, url: str, api_key: str | None, *, timeout: float, max_wait: float, proxy: ProxyOf) -> None:
        self.url = _checked(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._proxy = proxy(url)
        self._timeout, self._max_wait = timeout, max_wait
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers, proxy=self._proxy)
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
        """Send a request and return the response. `wait`: seconds that the server was asked to wait, added to the
        timeout. Raises ApiError, Unreachable."""
        timeout = aiohttp.ClientTimeout(total=self._timeout + wait, sock_connect=CONNECT_TIMEOUT)
        options = {"json": body, "params": query, "headers": headers, "timeout": timeout}

        async def answered() -> Reply:
            async with await self._open(method, path, options) as response:
                return Reply(response.status, await response.read(), response.url)

        return await self._retried(answered)

    @asynccontextmanager
    async def stream(self, *path: str, after: str = "") -> AsyncIterator[AsyncIterator[Event] | None]:
        """The events after the one with the id `after`, until the connection ends; None if the server says that no more
        will come. Raises ApiError, Unreachable."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=SILENCE_MAX)
        options = {"headers": headers, "timeout": timeout}
        async with await self._retried(lambda: self._open("GET", path, options)) as response:
            yield None if response.status == HTTPStatus.NO_CONTENT else _events(response)

    async def _open(self, method: str, path: tuple[str, ...], options: dict[str, Any]) -> aiohttp.ClientResponse:
        """One try; the body is not read yet. Raises ApiError and aiohttp's errors."""
        if self._http is None:
            raise RuntimeError("use it as `async with Client(...) as client`")
        url = self.url.joinpath(*(quote(part, safe="") for part in path), encoded=True)
        # No redirects: the API key is for this server only.
        response = await self._http.request(method, url, allow_redirects=False, **options)
        if response.status < HTTPStatus.MULTIPLE_CHOICES or response.status == HTTPStatus.NOT_MODIFIED:
            return response
        async with response:
            after = response.headers.get("Retry-After", "")
            raise ApiError.of_answer(
                response.status, await response.read(), retry_after=float(after) if after.isdecimal() else None
            )

    async def _retried(self, once: Callable[[], Awaitable[T]]) -> T:
        """What `once` returns, tried again while that may help and `max_wait` allows it. Raises ApiError,
        Unreachable."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._max_wait
        for tries in count(1):
            try:
                with self._reaching():
                    return await once()
            except (ApiError, _NoAnswer) as error:
                pause = self._pause_after(error, tries)
                if pause is None or not self._max_wait or clock() + pause > until:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last try raises")

    def _pause_after(self, error: ApiError | _NoAnswer, tries: int) -> float | None:
        """Seconds before the next try; None if it would not help. The server's Retry-After counts as it is."""
        if not isinstance(error, ApiError):
            return min(PAUSE_FIRST * 2.0 ** min(tries - 1, 10), PAUSE_MAX) + random.uniform(0, PAUSE_JITTER)
        is_temporary = error.status in OVERLOADED or error.slug == STILL_RUNNING
        return error.retry_after if is_temporary else None

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn aiohttp's errors into _NoAnswer. Drop the cause: aiohttp's errors show the request headers, and with
        them the API key."""
        try:
            yield
        except TimeoutError:
            raise _NoAnswer(f"{self.url} did not answer in time") from None
        except aiohttp.ClientError as error:
            raise _NoAnswer(f"{self.url} can't be reached: {why_not_reached(error)}") from None


def read(raw: str | bytes, shape: TypeAdapter[T], url: URL) -> T:
    """Parse a response, ignoring fields that this version does not know. Raises Unreachable if the shape is wrong."""
    try:
        return shape.validate_json(raw, extra="ignore")
    except ValidationError:
        raise Unreachable(f"{url.origin()} is not a session manager, or one of another version") from None


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    reader = EventReader()
    try:
        while line := await response.content.readline(max_line_length=LINE_MAX):
            if event := reader.line(line.decode(errors="replace")):
                yield event
    except (aiohttp.ClientError, TimeoutError, HttpProcessingError):  # HttpProcessingError: a line beyond LINE_MAX
        return


def _checked(url: str) -> URL:
    """Parse the URL of a session manager. Raises ValueError."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("the URL of a session manager must look like http://localhost:8080")
    if parsed.user is not None or parsed.password is not None or parsed.query_string or parsed.fragment:
        raise ValueError("the URL of a session manager must not have a user, password, query or fragment")
    return parsed
