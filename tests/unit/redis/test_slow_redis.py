"""A Redis that answers late, or takes no more connections: those that work go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from manager_agent.redis import connection as redis_connection
from manager_agent.redis.connection import RedisAway
from tests.raw_server import serving
from tests.unit.redis.connections import Connect, connecting

pytestmark = pytest.mark.unit

OK, PONG = b"+OK\r\n", b"+PONG\r\n"
PING, NAMED = b"PING\r\n", b"session-manager\r\n"
"""The ends of commands."""


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connecting("test") as connect:
        yield connect


async def test_the_login_waits_for_redis_once(connect: Connect) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer nothing before the whole login is here."""
        assert b"AUTH" in await reader.readuntil(b"SELECT\r\n$1\r\n7\r\n")
        writer.write(OK * 3)
        await reader.readuntil(PING)
        writer.write(PONG)
        await reader.read()

    async with serving(serve) as port:
        assert await connect(f"redis://user:s3cret@127.0.0.1:{port}/7").call("PING") == b"PONG"


async def test_a_connection_that_works_is_kept_when_no_other_can_be_opened(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        if accepted > 1:
            await reader.read()
            return
        await reader.readuntil(NAMED)
        writer.write(OK)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(PING):
                writer.write(PONG)

    async with serving(serve) as port:
        connection = connect(f"redis://127.0.0.1:{port}")
        assert await connection.call("PING") == b"PONG"
        monkeypatch.setattr(redis_connection, "CONNECT_TIMEOUT", 0.1)
        busy = asyncio.create_task(connection.call("PING"))
        await asyncio.sleep(0)  # it has the connection
        with pytest.raises(RedisAway):
            await connection.call("PING")
        assert await busy == b"PONG"
        assert await connection.call("PING") == b"PONG"
    assert accepted == 2
