"""Commands and scripts against a real server: what they return, and what is said when they fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from manager_agent.redis.connection import MAX_COMMANDS, CommandRefused, RedisAway, RedisConnection
from manager_agent.redis.script import Script
from manager_agent.redis.url import read_redis_url
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = pytest.mark.unit

Connect = Callable[[RedisServer], RedisConnection]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connections that are closed after the test."""
    async with AsyncExitStack() as stack:

        def connect(server: RedisServer) -> RedisConnection:
            connection = RedisConnection(read_redis_url(server.url), server.deployment)
            stack.push_async_callback(connection.aclose)
            return connection

        yield connect


async def test_commands_are_answered(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    assert repr(connection).endswith("[away]>")
    await connection.start()
    assert repr(connection).endswith("[there]>")
    assert await connection.call("SET", connection.keys.of("x"), b"\x00\xff") == b"OK"
    assert await connection.call("GET", connection.keys.of("x")) == b"\x00\xff"
    assert await connection.call("GET", connection.keys.of("y")) is None
    assert await connection.pipeline([("INCR", connection.keys.of("n")), ("INCR", connection.keys.of("n"))]) == [1, 2]


async def test_a_script_is_sent_once(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    script = Script("add", "return {redis.call('INCRBY', KEYS[1], ARGV[1]), ARGV[2]}")
    key = connection.keys.of("n")
    assert await connection.run(script, [key], [2, b"\xff"]) == [2, b"\xff"]
    assert await connection.run(script, [key], [2, 1.5]) == [4, b"1.5"]
    assert await redis_server.command("SCRIPT", "EXISTS", script.sha) == [1]


async def test_a_wrong_command_is_refused_and_redis_is_not_away(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    with pytest.raises(CommandRefused, match="NOSUCH") as caught:
        await connection.call("NOSUCH", "s3cret")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(CommandRefused, match="broken"):
        await connection.run(Script("broken", "return redis.call('INCR', 'a', 'b')"), [], [])
    assert not connection.is_away
    assert await connection.call("PING") == b"PONG"


async def test_many_commands_at_once_share_few_connections(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    key = connection.keys.of("n")
    counted = await asyncio.gather(*(connection.call("INCR", key) for _ in range(1000)))
    assert sorted(counted) == list(range(1, 1001))
    clients = await redis_server.command("CLIENT", "LIST")
    assert clients.count(b"name=session-manager") <= 40


async def test_a_server_that_ended_is_away_until_it_is_back(own_redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(own_redis_server)
    assert connection.why_away == "Redis was not asked yet"
    await connection.start()
    own_redis_server.stop()
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(RedisAway) as caught:
                await connection.call("SET", connection.keys.of("x"), "1")
        assert not caught.value.is_uncertain
        assert connection.is_away
        assert connection.why_away == caught.value.reason
        own_redis_server.start()
        assert await connection.call("PING") == b"PONG"
    assert [(one["event"], one["log_level"]) for one in logs] == [("redis_away", "warning"), ("redis_back", "info")]


async def test_a_restart_is_not_noticed_when_nothing_was_under_way(
    own_redis_server: RedisServer, connect: Connect
) -> None:
    connection = connect(own_redis_server)
    script = Script("one", "return 1")
    assert await connection.run(script, [], []) == 1
    own_redis_server.restart()
    await asyncio.sleep(0.01)  # the event loop reads that the connection ended
    assert await connection.run(script, [], []) == 1


async def test_a_frozen_server_leaves_it_open_whether_it_did_it(
    own_redis_server: RedisServer, connect: Connect
) -> None:
    connection = connect(own_redis_server)
    await connection.start()
    own_redis_server.freeze()
    with pytest.raises(RedisAway) as caught:
        await connection.call("INCR", connection.keys.of("n"))
    assert caught.value.is_uncertain
    own_redis_server.thaw()
    assert await eventually("the number", lambda: connection.call("GET", connection.keys.of("n"))) == b"1"


async def test_a_full_server_is_not_away_and_scripts_may_go_on(own_redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(own_redis_server)
    await connection.start()
    await own_redis_server.limit_memory()
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(RedisAway) as caught:
                await connection.call("SET", connection.keys.of("x"), "1")
    assert [one["event"] for one in logs] == ["redis_refuses"]
    assert connection.refusals.why_no_writes == "out of memory (OOM)"
    assert not caught.value.is_uncertain
    assert not connection.is_away
    renewal = Script("renewal", "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], ARGV[1])")
    assert await connection.run(renewal, [connection.keys.of("x")], ["1"]) == b"OK"


async def test_what_a_cancelled_command_would_get_is_not_given_to_the_next(
    own_redis_server: RedisServer, connect: Connect
) -> None:
    connection = connect(own_redis_server)
    await connection.start()
    own_redis_server.freeze()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.call("ECHO", "first")
    own_redis_server.thaw()
    assert await connection.call("ECHO", "second") == b"second"


async def test_answers_belong_to_their_commands_whatever_is_cancelled(
    redis_server: RedisServer, connect: Connect
) -> None:
    connection = connect(redis_server)

    async def echo(number: int) -> None:
        try:
            async with asyncio.timeout(random.random() * 0.02):
                assert await connection.call("ECHO", number) == b"%d" % number
        except TimeoutError:
            pass

    await asyncio.gather(*(echo(number) for number in range(2000)))
    assert await connection.call("ECHO", "last") == b"last"


async def test_connections_that_others_end_are_replaced(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    await asyncio.gather(*(connection.call("PING") for _ in range(10)))
    await redis_server.command("CLIENT", "KILL", "TYPE", "normal")

    async def pinged() -> bool:
        try:
            return bool(await connection.call("PING"))
        except RedisAway:  # once, for that it had ended was not yet known
            return False

    assert await eventually("an answer", pinged)
    assert await connection.call("PING") == b"PONG"


async def test_what_is_urgent_does_not_wait_for_others(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    key = connection.keys.of("waited-for")
    others = [asyncio.ensure_future(connection.call("BLPOP", key, 30)) for _ in range(MAX_COMMANDS)]
    await asyncio.sleep(0)
    give = Script("give", "-- urgent\nfor _ = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], 'x') end")
    await connection.run(give, [key], [len(others)])
    assert len(await asyncio.gather(*others)) == len(others)


async def test_a_closed_connection_opens_no_other(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    await connection.start()
    await connection.aclose()
    with pytest.raises(RedisAway):
        await connection.call("PING")


async def test_what_the_acl_forbids_is_said(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, username="u", password="p", rights="~sm:{test}:* +@all -xadd") as server:
        connection = connect(server)
        with capture_logs() as logs, pytest.raises(RedisAway, match="NOPERM"):
            await connection.call("XADD", connection.keys.changes, "*", "k", "x")
    assert [(one["event"], one["code"]) for one in logs] == [("redis_refuses", "NOPERM")]


async def test_who_observes_is_told_how_commands_end(own_redis_server: RedisServer) -> None:
    told: list[tuple[str, str]] = []
    url = read_redis_url(own_redis_server.url)
    connection = RedisConnection(url, "test", lambda name, seconds, outcome: told.append((name, outcome)))
    await connection.call("PING")
    with pytest.raises(CommandRefused):
        await connection.call("NOSUCH")
    await connection.run(Script("one", "return 1"), [], [])
    own_redis_server.stop()
    while told[-1][1] != "away":  # what was sent on the connection that ended is uncertain
        with pytest.raises(RedisAway):
            await connection.call("INCR", connection.keys.of("n"))
    await connection.aclose()
    assert told[:4] == [("PING", "ok"), ("NOSUCH", "refused"), ("one", "ok"), ("one", "ok")]


async def test_a_command_that_blocks_waits_longer(redis_server: RedisServer, connect: Connect) -> None:
    connection = connect(redis_server)
    assert await connection.call("BLPOP", connection.keys.of("empty"), "0.1", blocks=0.1) is None


@pytest.mark.parametrize("username", ["", "manager"])
async def test_login(tmp_path: Path, connect: Connect, username: str) -> None:
    with RedisServer(tmp_path, username=username, password="s3cret") as server:
        connection = connect(server)
        assert await connection.call("PING") == b"PONG"
        wrong = RedisConnection(read_redis_url(server.url.replace("s3cret", "wr0ng")), "test")
        with capture_logs() as logs, pytest.raises(RedisAway) as caught:
            await wrong.call("PING")
        await wrong.aclose()
    shown = repr([logs, caught.value, caught.value.__cause__, wrong, wrong.url, connection])
    assert "refused user or password" in shown
    assert "s3cret" not in shown
    assert "wr0ng" not in shown


async def test_a_database_that_is_not_there_is_said(redis_server: RedisServer) -> None:
    connection = RedisConnection(read_redis_url(redis_server.url.removesuffix("/0") + "/9999"), "test")
    with pytest.raises(RedisAway, match="no database 9999"):
        await connection.call("PING")
    await connection.aclose()
