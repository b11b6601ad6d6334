"""Why a server can't be reached is said without credentials."""

from __future__ import annotations

import aiohttp
import pytest

from manager_agent.unreachable import why_unreachable
from tests.raw_server import raw_server

pytestmark = pytest.mark.unit

REFUSING = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


async def why(url: str, proxy: str | None = None) -> str:
    async with aiohttp.ClientSession(proxy=proxy) as http:
        try:
            async with http.post(url, timeout=aiohttp.ClientTimeout(total=5)):
                raise AssertionError("answered")
        except (aiohttp.ClientError, TimeoutError) as error:
            return why_unreachable(error)


async def test_a_proxy_that_refuses_is_named_without_its_password() -> None:
    async with raw_server(REFUSING) as port:
        assert (
            await why("https://livekit.example.com", f"http://user:s3cret@127.0.0.1:{port}") == "the proxy answered 407"
        )


async def test_a_proxy_that_is_not_there_is_told_apart_from_a_server_that_is_not_there() -> None:
    assert await why("https://livekit.example.com", "http://user:s3cret@127.0.0.1:1") == (
        "the proxy: Connection refused"
    )
    assert await why("http://127.0.0.1:1") == "Connection refused"


async def test_a_server_that_closes_the_connection_is_named_by_the_error() -> None:
    async with raw_server(b"") as port:
        assert await why(f"http://127.0.0.1:{port}") == "ServerDisconnectedError"
