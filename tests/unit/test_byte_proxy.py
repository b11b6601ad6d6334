"""The proxy that misbehaves on bytes, in front of an echo server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from http_api.connections import close_server
from tests.byte_proxy import CLEAN, ByteFault, ByteProxy, Closing
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

TEXT = b"0123456789" * 10
BRIEFLY = 0.2
"""Seconds in which nothing may arrive."""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(1_000):
            writer.write(chunk)
            await writer.drain()
    writer.close()


class EchoClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def echoed(self, text: bytes = TEXT) -> bytes:
        self.writer.write(text)
        async with waiting_for("the echo", lambda: text):
            return await self.reader.readexactly(len(text))

    async def hears_nothing(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.reader.read(1), BRIEFLY)


Connect = Callable[[], Awaitable[EchoClient]]


@pytest.fixture
async def proxy() -> AsyncIterator[ByteProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with ByteProxy(server.sockets[0].getsockname()[1], seed=7) as proxy:
        yield proxy
    await close_server(server)


@pytest.fixture
async def connect(proxy: ByteProxy) -> AsyncIterator[Connect]:
    """Connects a client through the proxy."""
    clients: list[EchoClient] = []

    async def connect() -> EchoClient:
        clients.append(EchoClient(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.close()
        with suppress(OSError):
            await client.writer.wait_closed()


async def test_bytes_pass_unchanged_while_there_is_no_fault(proxy: ByteProxy, connect: Connect) -> None:
    client = await connect()
    assert await client.echoed() == TEXT
    assert (proxy.accepted, proxy.open_connections) == (1, 1)


async def test_a_connection_that_the_client_ends_is_ended_on_both_sides(proxy: ByteProxy, connect: Connect) -> None:
    client = await connect()
    await client.echoed()
    client.writer.close()
    async with waiting_for("the end of the connection", lambda: proxy):
        while proxy.open_connections:
            await asyncio.sleep(0.01)


async def test_a_black_hole_passes_nothing_and_what_it_swallowed_arrives_when_it_ends(
    proxy: ByteProxy, connect: Connect
) -> None:
    client = await connect()
    await client.echoed()
    proxy.set(ByteFault(closing=Closing.BLACK_HOLE))
    client.writer.write(TEXT)
    await client.hears_nothing()
    late = await connect()
    late.writer.write(TEXT)
    await late.hears_nothing()
    proxy.set(CLEAN)
    for one in (client, late):
        async with waiting_for("what was held", lambda: proxy):
            assert await one.reader.readexactly(len(TEXT)) == TEXT


async def test_reset_connections_fail_and_new_ones_pass(proxy: ByteProxy, connect: Connect) -> None:
    client = await connect()
    await client.echoed()
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1)
    assert await (await connect()).echoed() == TEXT


async def test_refused_connections_are_reset_at_once_and_open_ones_stay(proxy: ByteProxy, connect: Connect) -> None:
    client = await connect()
    await client.echoed()
    proxy.set(ByteFault(closing=Closing.REFUSE))
    refused = await connect()
    with pytest.raises(ConnectionResetError):
        await refused.reader.read(1)
    assert await client.echoed() == TEXT


async def test_a_half_closed_connection_ends_for_the_reader_and_still_takes_bytes(
    proxy: ByteProxy, connect: Connect
) -> None:
    client = await connect()
    await client.echoed()
    proxy.set(ByteFault(closing=Closing.HALF_CLOSE))
    assert await client.reader.read(1) == b""
    client.writer.write(TEXT)
    await client.writer.drain()


async def test_a_slow_drip_passes_every_byte_in_small_pieces(proxy: ByteProxy, connect: Connect) -> None:
    proxy.set(ByteFault(latency=0.001, drip=7))
    client = await connect()
    client.writer.write(TEXT)
    pieces: list[bytes] = []
    async with waiting_for("the echo", lambda: pieces):
        while len(b"".join(pieces)) < len(TEXT):
            pieces.append(await client.reader.read(1_000))
    assert b"".join(pieces) == TEXT
    assert len(pieces) > 1


async def test_only_connections_that_begin_as_wanted_have_faults() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with ByteProxy(server.sockets[0].getsockname()[1], only=(b"POST ", b"GET /agent")) as proxy:
        connections = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(3)]
        agent, other, late = [EchoClient(*each) for each in connections]
        await agent.echoed(b"GET /agent")
        await other.echoed(b"GET /other")
        proxy.set(ByteFault(closing=Closing.REFUSE))
        proxy.reset_all()
        late.writer.write(b"POST /")
        for one in (agent, late):
            with pytest.raises(ConnectionResetError):
                await one.reader.read(1)
        assert await other.echoed() == TEXT
    await close_server(server)


async def test_the_same_seed_makes_the_same_delays() -> None:
    proxies = [ByteProxy(1, seed=seed) for seed in (3, 3, 4)]
    for proxy in proxies:
        proxy.set(ByteFault(latency=0.5, jitter=1.0))
    first, same, other = [[proxy.delay() for _ in range(20)] for proxy in proxies]
    assert first == same != other
    assert all(0.5 <= delay <= 1.5 for delay in first)
