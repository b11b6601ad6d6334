"""The HTTP client for the collector: post a batch, and check what kind of server the endpoint is."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import aiohttp
from aiohttp import hdrs

from http_api.observability.shipping.batch import Batch
from http_api.observability.shipping.formats import Format
from http_api.observability.shipping.response_class import (
    VECTORS_OWN_API,
    CollectorResponse,
    ResponseClass,
    retry_after,
)
from http_api.settings.log_endpoint import LogEndpoint
from manager_agent.proxy_rule import proxy_rule

TIMEOUT = 10.0
"""Seconds for one batch in total. A busy collector may not respond, or respond without end."""
LOOK_TIMEOUT = aiohttp.ClientTimeout(total=2)
RESPONSE_MAX = 64 * 1024
"""The maximum bytes read of a response."""
RESPONSE_TIMEOUT = 1.0
"""Seconds to read them after the status has arrived."""
COMPRESSION = 1
"""The gzip level, of 9. Log lines are so repetitive that higher levels cost time and save little."""

NO_HTTP = (aiohttp.ClientResponseError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""What a port of another protocol causes: a response that can't be parsed, or the end or reset of the connection."""


class Collector:
    """An async context manager for a session with the collector."""

    def __init__(self, endpoint: LogEndpoint, format: Format, timeout: float = TIMEOUT) -> None:
        self._endpoint, self._format, self._timeout = endpoint, format, aiohttp.ClientTimeout(total=timeout)
        self._url = endpoint.post_to(format.path)
        self._is_known = False
        """Whether the server that responds now was found not to be Vector's own API. After a failure another server may
        listen there."""

    async def __aenter__(self) -> Self:
        headers = {hdrs.CONTENT_TYPE: self._format.content_type, hdrs.CONTENT_ENCODING: "gzip"}
        if self._endpoint.has_credentials:
            headers[hdrs.AUTHORIZATION] = aiohttp.encode_basic_auth(*self._endpoint.credentials)
        self._headers = headers
        self._http = aiohttp.ClientSession(
            timeout=self._timeout,
            trust_env=False,  # no .netrc, and the proxy of our own rule
            proxy=proxy_rule().of(str(self._url)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.ACCEPT_ENCODING: "identity"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def send(self, batch: Batch) -> CollectorResponse:
        """Post the batch once. Vector's own API accepts everything, so the first response that does is believed only
        after a look at the server."""
        response = await self._post(batch)
        match response.response_class:
            case ResponseClass.TAKEN:
                if not self._is_known and await self.is_vectors_own_api():
                    return VECTORS_OWN_API
                self._is_known = True
            case ResponseClass.LATER | ResponseClass.MISCONFIGURED | ResponseClass.UNANSWERED:
                self._is_known = False
            case ResponseClass.REFUSED:
                pass
        return response

    async def _post(self, batch: Batch) -> CollectorResponse:
        """Redirects are not followed: a redirect is the response."""
        try:
            body = gzip.compress(await self._written(batch.lines), COMPRESSION, mtime=0)
        except Exception as error:  # the encoding of one of the records failed
            return CollectorResponse(
                ResponseClass.REFUSED, f"can't be written as {self._format.name}: {type(error).__name__}"
            )
        try:
            async with self._http.post(self._url, data=body, headers=self._headers, allow_redirects=False) as response:
                content = await _beginning(response)
                wait = retry_after(response.headers.get(hdrs.RETRY_AFTER), time.time())
                rejected = self._format.rejected(content) if response.ok else 0
                return CollectorResponse.of(response.status, retry_after=wait, rejected=rejected)
        except aiohttp.ClientConnectorError as error:
            return CollectorResponse(ResponseClass.UNANSWERED, f"not connected: {error.strerror or error.os_error}")
        except Exception as error:
            # Errors of aiohttp, TLS and name resolution have no common class. Only the class name is reported, because
            # the message may quote the response.
            is_http = not isinstance(error, NO_HTTP)
            return CollectorResponse(ResponseClass.UNANSWERED, f"not answered: {type(error).__name__}", is_http=is_http)

    async def _written(self, lines: Sequence[bytes]) -> bytes:
        """Encode in slices. The sleep between them releases the GIL, which requests would otherwise wait for."""
        parts, size = [], self._format.slice
        for start in range(0, len(lines), size):
            parts.append(self._format.write(lines[start : start + size]))
            await asyncio.sleep(0)
        return b"".join(parts)

    async def is_vectors_own_api(self) -> bool | None:
        """Whether the endpoint is Vector's own API, which responds with 200 to everything and stores nothing. None: no
        response.

        An http_server source responds to /ping with `pong`, and logs an error for each GET of another path.
        """
        try:
            pong = await self._get("/ping")
            if pong is None or pong.strip() == b"pong":
                return False
            return bool(json.loads(await self._get("/health") or b"null") == {"ok": True})
        except (ValueError, RecursionError):  # of the JSON parser
            return False
        except Exception:
            return None

    async def _get(self, path: str) -> bytes | None:
        """The beginning of the body; None if the status is not 200."""
        url = self._endpoint.on_origin(path)
        async with self._http.get(url, timeout=LOOK_TIMEOUT, allow_redirects=False) as response:
            return await _beginning(response) if response.status == HTTPStatus.OK else None


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the body. Never fails: a broken, endless or late body does not invalidate the status."""
    content = b""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(RESPONSE_TIMEOUT):
            while (left := RESPONSE_MAX - len(content)) and (chunk := await response.content.read(left)):
                content += chunk
    return content
