"""Whether Redis takes writes is asked, so that it is known without any, and that it does again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from manager_agent.redis import refusals
from manager_agent.redis.connection import RedisAway
from manager_agent.redis.write_probe import WriteProbe
from tests.redis_server import RedisServer
from tests.unit.redis.connections import Connect, connecting
from tests.unit.waits import until

pytestmark = pytest.mark.unit


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connecting("test") as connect:
        yield connect


async def test_a_full_redis_is_known_until_it_takes_writes_again(
    own_redis_server: RedisServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "STEADY_AFTER", 0.0)
    connection = connect(own_redis_server.url)
    probe = WriteProbe(connection, interval=0.01)
    with capture_logs() as logs:
        await probe.start()
        await until(lambda: not connection.is_away)
        await own_redis_server.limit_memory()
        await until(lambda: connection.refusals.why_no_writes is not None)
        with pytest.raises(RedisAway, match="OOM"):
            await probe.require_writes()
        assert connection.refusals.why_no_writes == "out of memory (OOM)"
        assert not connection.is_away
        await own_redis_server.limit_memory(0)
        await until(lambda: connection.refusals.why_no_writes is None)
        await probe.require_writes()
        await probe.aclose()
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("redis_refuses", "error"),
        ("redis_takes_writes", "info"),
    ]
    assert await own_redis_server.command("KEYS", "*") == []


async def test_too_few_replicas_of_redis_are_known(own_redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(own_redis_server.url)
    await own_redis_server.command("CONFIG", "SET", "min-replicas-to-write", 1)
    with pytest.raises(RedisAway, match="NOREPLICAS"):
        await WriteProbe(connection).require_writes()
    assert connection.refusals.why_no_writes == "too few of its replicas answer (NOREPLICAS)"


async def test_one_write_that_fits_does_not_make_a_full_redis_well(
    own_redis_server: RedisServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "STEADY_AFTER", 3600.0)
    connection = connect(own_redis_server.url)
    probe = WriteProbe(connection)
    await own_redis_server.limit_memory()
    with pytest.raises(RedisAway):
        await probe.require_writes()
    await own_redis_server.limit_memory(0)
    await probe.require_writes()
    assert connection.refusals.why_no_writes is not None
