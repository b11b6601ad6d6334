"""Scripts while a real Redis is full: each is carried out as a whole, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from manager_agent.redis.connection import RedisAway, RedisConnection, Word
from manager_agent.redis.script import load_script
from tests.redis_server import RedisServer
from tests.unit.redis.connections import connecting

pytestmark = pytest.mark.unit


@pytest.fixture
async def redis(own_redis_server: RedisServer) -> AsyncIterator[RedisConnection]:
    """Of a Redis that has something under each of the keys that the scripts are given, and is full then."""
    async with connecting("test") as connect:
        connection = connect(own_redis_server.url)
        await connection.pipeline(
            [
                ("SET", connection.keys.of("text"), "before"),
                (
                    "HSET",
                    connection.keys.of("hash"),
                    "abandoned",
                    1,
                    "taken",
                    1,
                    "a",
                    "1-1 0 value",
                    "b",
                    "1-2 0 value",
                ),
                ("ZADD", connection.keys.of("set"), 0, "a", 0, "b"),
                ("XADD", connection.keys.of("changes"), "*", "k", "epoch"),
            ]
        )
        await own_redis_server.limit_memory()
        yield connection


def group(*changes: tuple[str, str]) -> list[Word]:
    """Arguments: verbs and keys of records."""
    return ["replica", *(word for verb, key in changes for word in (1, "answer", verb, key, "value", ""))]


@pytest.mark.parametrize(
    ("script", "keys", "args"),
    [
        ("register", ["set"], ["new", 60_000]),
        ("change_records", ["changes", "hash", "set"], group(("delete", "a"), ("put", "b"))),
        ("change_records", ["changes", "hash", "set"], group(("put", "b"), ("delete", "a"))),
    ],
)
async def test_what_is_refused_has_changed_nothing(
    own_redis_server: RedisServer, redis: RedisConnection, script: str, keys: list[str], args: list[Word]
) -> None:
    saved = await own_redis_server.saved()
    with pytest.raises(RedisAway, match="OOM"):
        await redis.run(load_script(script), [redis.keys.of(key) for key in keys], args)
    assert await own_redis_server.saved() == saved


@pytest.mark.parametrize(
    ("script", "keys", "args", "answer"),
    [
        ("delete_records", ["changes", "hash", "set"], group(("delete", "gone")), [b""]),
        ("rate", ["rate"], [1000, 1000, 1], [[0, 1]]),
        ("repeated", ["hash"], ["abandon", 1000], 1),
        ("repeated", ["hash"], ["take", 1000], 1),
        ("repeated", ["new"], ["end", 1000], 1),
        ("swap", ["text"], ["before", "after", 1000], None),
        ("swap", ["text"], ["before", "", 0], None),
        ("sweep_records", ["hash", "set"], [1, 10], 2),
        ("tell_heartbeats", ["changes"], ["replica", "[]"], None),
    ],
)
async def test_what_must_go_on_does(
    redis: RedisConnection, script: str, keys: list[str], args: list[Word], answer: object
) -> None:
    assert await redis.run(load_script(script), [redis.keys.of(key) for key in keys], args) == answer
