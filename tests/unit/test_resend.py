"""A request whose connection was closed without a response is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from http_api.connections import close_server
from manager_agent.resend import resend_when_closed

pytestmark = pytest.mark.unit


@asynccontextmanager
async def closing_when_reused(requests: list[bytes]) -> AsyncIterator[str]:
    """A server that answers the first request of each connection, and closes when the next arrives, as one that was
    about to close it anyway. Gives its URL; collects the bodies."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            for is_last in (False, True):
                await reader.readuntil(b"\r\n\r\n")
                requests.append(await reader.readexactly(4))
                if not is_last:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await close_server(server)


async def test_a_post_on_a_connection_that_is_being_closed_is_sent_again() -> None:
    requests: list[bytes] = []
    async with (
        closing_when_reused(requests) as url,
        aiohttp.ClientSession(middlewares=[resend_when_closed(lambda url: url.name.startswith("List"))]) as http,
    ):
        for body in (b"1st.", b"2nd."):
            async with http.post(f"{url}/twirp/livekit.RoomService/ListRooms", data=body) as answer:
                assert answer.status == 200
    assert requests == [b"1st.", b"2nd.", b"2nd."]


async def test_a_post_that_must_not_arrive_twice_is_not_sent_again() -> None:
    requests: list[bytes] = []
    async with (
        closing_when_reused(requests) as url,
        aiohttp.ClientSession(middlewares=[resend_when_closed(lambda url: url.name.startswith("List"))]) as http,
    ):
        path = "/twirp/livekit.AgentDispatchService/CreateDispatch"
        async with http.post(url + path, data=b"1st."):
            pass
        with pytest.raises(aiohttp.ServerDisconnectedError):
            async with http.post(url + path, data=b"2nd."):
                pass
    assert requests == [b"1st.", b"2nd."]
