"""Bounds on headers and idle connections, on real sockets."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

from http_api import connections
from tests.api.raw_requests import head, read_response, send
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import time_passes

pytestmark = pytest.mark.api


async def is_served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether a request on this connection is answered."""
    writer.write(head("GET", "/livez"))
    return (await read_response(reader)).status == 200


@pytest.mark.parametrize("name", ["Cookie", "Authorization"])
async def test_header_of_20_kilobytes_is_taken(api: Api, name: str) -> None:
    assert (await send(api.port, head("GET", "/livez", f"{name}: {'c' * 20_000}"))).status == 200


@pytest.mark.parametrize("size", [33_000, 60_000, 300_000])
@pytest.mark.parametrize("name", ["Cookie", "X-Amzn-Oidc-Data"])
async def test_header_above_the_limit_is_named(api: Api, name: str, size: int) -> None:
    response = await send(api.port, head("GET", "/livez", "X-A: b", f"{name}: {'c' * size}"))
    assert (response.status, response.problem) == (431, "header_too_large")
    assert name in response.json["detail"]


async def test_header_above_the_limit_is_named_when_it_arrives_in_parts(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    request = head("GET", "/livez", "X-A: b", f"Cookie: {'c' * 40_000}")
    for begin in range(0, len(request), 5_000):
        writer.write(request[begin : begin + 5_000])
        await asyncio.sleep(0)
    response = await read_response(reader)
    writer.close()
    assert (response.status, response.problem) == (431, "header_too_large")
    assert "Cookie" in response.json["detail"]


@pytest.mark.parametrize("line", ["Cookie: " + "c" * 200_000, "\r\n".join(f"X-{n}: {'c' * 900}" for n in range(300))])
async def test_a_client_that_is_still_sending_gets_the_response_and_no_reset(api: Api, line: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    request = head("GET", "/livez", line)
    for begin in range(0, len(request), 4_096):
        writer.write(request[begin : begin + 4_096])
        await asyncio.sleep(0.001)
    response = await read_response(reader)
    assert (response.status, response.problem) == (431, "header_too_large")
    assert await reader.read() == b""
    writer.close()


async def test_the_rest_of_a_body_after_its_response_does_not_count_as_headers(api: Api) -> None:
    """Or a second response would be read as that of the next request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = b"[" * 200_000
    writer.write(head("GET", "/livez", f"Content-Length: {len(body)}"))
    assert (await read_response(reader)).status == 200
    for begin in range(0, len(body), 4_096):
        writer.write(body[begin : begin + 4_096])
        await asyncio.sleep(0)
    writer.write(head("GET", "/livez", "Connection: close"))
    assert (await read_response(reader)).status == 200
    assert await reader.read() == b""
    writer.close()


async def test_headers_have_a_limit_together(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head("GET", "/livez", *(f"X-{n}: {'c' * 30_000}" for n in range(4)))[:-2])
    response = await read_response(reader)
    writer.close()
    assert (response.status, response.problem) == (431, "header_too_large")


async def test_path_above_the_limit_is_414(api: Api) -> None:
    response = await send(api.port, head("GET", "/livez?a=" + "b" * 9_000))
    assert (response.status, response.problem) == (414, "uri_too_long")


async def test_something_else_than_http_is_400(api: Api) -> None:
    assert (await send(api.port, b"\x16\x03\x01\r\n\r\n")).problem == "malformed_request"


async def test_headers_have_a_time_limit(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a header now and then does not keep a connection busy forever."""
    monkeypatch.setattr(connections, "HEADERS_TIMEOUT", 0.2)
    api = await start_api()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    answered = asyncio.create_task(read_response(reader))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
    while not answered.done():
        writer.write(b"X-A: b\r\n")
        await asyncio.sleep(0.02)
    response = await answered
    assert (response.status, response.problem) == (408, "slow_headers")
    assert await reader.read() == b""
    writer.close()


async def test_longest_idle_connections_are_closed_first(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_MAX", 3)
    monkeypatch.setattr(connections, "IDLE_MIN", 0.0)
    api = await start_api()
    opened = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(2)]
    for reader, writer in opened:
        assert await is_served(reader, writer)
    opened += [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(2)]
    assert await opened[0][0].read() == b""
    for reader, writer in opened[1:]:
        assert await is_served(reader, writer)
    for _, writer in opened:
        writer.close()


async def test_connection_that_is_idle_for_a_moment_is_left_alone(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request may be on its way, however many connections are idle."""
    monkeypatch.setattr(connections, "IDLE_MAX", 1)
    monkeypatch.setattr(connections, "IDLE_MIN", 600.0)
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 6_000.0)
    api = await start_api()
    opened = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(3)]
    for reader, writer in opened:
        assert await is_served(reader, writer)
    time_passes(monkeypatch, 700)
    for reader, _ in opened[:2]:
        assert await reader.read() == b""
    assert await is_served(*opened[2])
    for _, writer in opened:
        writer.close()


async def test_idle_connection_is_closed_after_a_while(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 0.1)
    api = await start_api()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    assert await reader.read() == b""
    writer.close()


async def test_two_requests_sent_at_once_are_both_answered(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head("GET", "/livez") * 2 + head("GET", "/nowhere")[:-10])
    assert [(await read_response(reader)).status for _ in range(2)] == [200, 200]
    writer.write(head("GET", "/nowhere")[-10:])
    assert (await read_response(reader)).status == 404
    writer.close()


class KeptTransport(asyncio.Protocol):
    """A connection that adds its transport to the list."""

    def __init__(self, transports: list[asyncio.BaseTransport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(transport)


@pytest.mark.parametrize("steps", range(connections.ACCEPT_STEPS))
async def test_no_connection_is_forgotten_that_is_accepted_while_the_server_closes(steps: int) -> None:
    """Python warns of sockets that were never closed, and a warning fails the test."""
    transports = list[asyncio.BaseTransport]()
    server = await asyncio.get_running_loop().create_server(lambda: KeptTransport(transports), "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        for _ in range(steps):
            await asyncio.sleep(0)
        await connections.close_server(server)
        accepted = len(transports)
        while transports:
            transports.pop().close()
        await asyncio.sleep(0)
    gc.collect()
    assert accepted == (steps > 1), "the loop accepts it in its second iteration"
