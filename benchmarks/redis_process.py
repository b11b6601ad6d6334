"""A redis-server of a benchmark's own, and stores of replicas on it."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from manager_agent.clock import SteadyClock
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import read_redis_url
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.redis import RedisStore
from scripts.free_ports import free_port
from scripts.redis_server import find_or_fetch

DEPLOYMENT = "benchmark"
START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class RedisProcess:
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, *, connections: int = 1) -> Redis:
        """The bare client of redis-py: an async context manager."""
        return Redis(port=self.port, max_connections=connections, protocol=2)


@contextmanager
def redis_process() -> Iterator[RedisProcess]:
    """Redis as its package configures it, but without a file on disk."""
    port, program = free_port(), find_or_fetch()
    with TemporaryDirectory() as folder:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder)
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, *options], stdout=log, stderr=log, process_group=0)
        try:
            yield RedisProcess(port, process.pid)
        finally:
            process.kill()
            process.wait()


async def answers(server: RedisProcess) -> None:
    """Return when it answers. Raises TimeoutError."""
    async with asyncio.timeout(START_TIMEOUT), server.client() as client:
        while True:
            try:
                await client.ping()
                return
            except (ConnectionError, OSError):
                await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class BenchReplica:
    connection: RedisConnection
    changelog: ChangeLog
    store: RedisStore


@asynccontextmanager
async def a_replica(server: RedisProcess, name: str, *, kept: int = 1_000_000) -> AsyncIterator[BenchReplica]:
    """The store of a replica, as the application makes it, without listeners. `kept`: ended sessions at most."""
    connection = RedisConnection(read_redis_url(server.url), DEPLOYMENT)
    changelog = ChangeLog(connection)
    ended = EndedSessions(per_caller=kept, in_all=kept)
    store = RedisStore(connection, changelog, SteadyClock(), name, ended=ended)
    await connection.start()
    await changelog.start()
    try:
        # At the start a replica reads everything, for longer than a request waits.
        while changelog.position == "0-0":
            await asyncio.sleep(0.01)
        yield BenchReplica(connection, changelog, store)
    finally:
        await changelog.aclose()
        await store.aclose()
        await connection.aclose()


@dataclass(frozen=True, slots=True)
class RedisUse:
    """What a redis-server has done so far."""

    commands: int
    """Of clients, and within scripts."""
    bytes_in: int
    bytes_out: int
    cpu_s: float
    memory: int
    at: float

    def since(self, earlier: RedisUse) -> RedisUse:
        return RedisUse(
            self.commands - earlier.commands,
            self.bytes_in - earlier.bytes_in,
            self.bytes_out - earlier.bytes_out,
            self.cpu_s - earlier.cpu_s,
            self.memory - earlier.memory,
            self.at - earlier.at,
        )


async def use_of(client: Redis) -> RedisUse:
    info = await client.info("everything")
    cpu = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
    return RedisUse(
        int(info["total_commands_processed"]),
        int(info["total_net_input_bytes"]),
        int(info["total_net_output_bytes"]),
        cpu,
        int(info["used_memory"]),
        time.monotonic(),
    )
