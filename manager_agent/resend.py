"""Send a request again whose connection was closed without a response.

A server, or a proxy in front of it, may close an idle connection at the moment at which it is reused. aiohttp sends
again only what HTTP defines as idempotent, so not POST, which LiveKit's server API and ours use for everything.
"""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from yarl import URL

CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
"""What a connection raises that the other side has closed."""


def was_closed(error: BaseException) -> bool:
    """Whether the other side closed the connection without a response to the request."""
    return isinstance(error, CLOSED) and not isinstance(error, aiohttp.ClientConnectorError)


def resend_when_closed(may_repeat: Callable[[URL], bool]) -> ClientMiddlewareType:
    """A middleware of a ClientSession. `may_repeat`: whether a request to this URL may arrive twice."""

    async def resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        try:
            return await handler(request)
        except CLOSED as error:
            if not was_closed(error) or not may_repeat(request.url):
                raise
            return await handler(request)

    return resend
