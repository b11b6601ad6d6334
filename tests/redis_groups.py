"""Several servers that belong together: a primary that a sentinel watches, and a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from redis.exceptions import ResponseError

from scripts.free_ports import free_port
from tests.certificates import Certificates
from tests.redis_server import RedisServer
from tests.waiting import eventually

SERVICE = "main"
SLOTS = 16_384


class SentinelGroup:
    """A primary, its replica, and a sentinel that lets the replica take over when the primary has not answered for
    0.3 s: an async context manager."""

    def __init__(
        self, folder: Path, *, password: str = "", tls: Certificates | None = None, is_limited: bool = False
    ) -> None:
        self.primary = RedisServer(
            folder, password=password, tls=tls, is_limited=is_limited, masterauth=password or '""'
        )
        self.replica = RedisServer(
            folder,
            password=password,
            tls=tls,
            is_limited=is_limited,
            masterauth=password or '""',
            replicaof=f"127.0.0.1 {self.primary.port}",
        )
        lines = [f"monitor {SERVICE} 127.0.0.1 {self.primary.port} 1"]
        lines += [f"auth-pass {SERVICE} {password}"] if password else []
        lines += [f"down-after-milliseconds {SERVICE} 300", f"failover-timeout {SERVICE} 2000"]
        self.sentinel = RedisServer(folder, tls=tls, watches="".join(f"sentinel {line}\n" for line in lines))
        self._servers = AsyncExitStack()

    @property
    def url(self) -> str:
        """The first of its sentinels is not there."""
        scheme = "rediss" if self.primary.query else "redis"
        sentinels = f"127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}"
        return f"{scheme}+sentinel://{self.primary.login}{sentinels}/{SERVICE}{self.primary.query}"

    async def __aenter__(self) -> Self:
        for server in (self.primary, self.replica, self.sentinel):
            self._servers.enter_context(server)
        await follows(self.replica)
        await eventually("the sentinel to know the replica", self._known_replicas)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    async def fails_over(self) -> bool:
        """Let the replica take over from a primary that works. False: the sentinel is not ready, or not done."""
        with suppress(ResponseError):
            await self.sentinel.command("SENTINEL", "FAILOVER", SERVICE)
        if (await self.replica.command("ROLE"))[0] != b"master":
            return False
        # The sentinel does this after about ten seconds. Until then the old primary takes writes that will be lost.
        await self.primary.command("REPLICAOF", "127.0.0.1", self.replica.port)
        return True

    async def _known_replicas(self) -> int:
        return len(await self.sentinel.command("SENTINEL", "REPLICAS", SERVICE))


class ClusterGroup:
    """A cluster of three primaries with a third of the slots each, and a replica of each: an async context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        tls: Certificates | None = None,
        is_limited: bool = False,
        replicas: bool = False,
    ) -> None:
        self._password, self._tls, self._is_limited = password, tls, is_limited
        self._bus_ports: dict[RedisServer, int] = {}
        self.primaries = [self._node(folder) for _ in range(3)]
        self.replicas = [self._node(folder) for _ in range(3)] if replicas else []
        self._servers = AsyncExitStack()

    def _node(self, folder: Path) -> RedisServer:
        bus_port = free_port()
        node = RedisServer(
            folder,
            password=self._password,
            tls=self._tls,
            is_limited=self._is_limited,
            masterauth=self._password or '""',
            cluster_enabled="yes",
            cluster_config_file="nodes.conf",
            cluster_node_timeout=1000,
            cluster_port=bus_port,
        )
        self._bus_ports[node] = bus_port
        return node

    @property
    def url(self) -> str:
        """The first of its nodes is not there."""
        nodes = ",".join(f"127.0.0.1:{port}" for port in (free_port(), *(node.port for node in self.primaries)))
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}+cluster://{self.primaries[0].login}{nodes}{self.primaries[0].query}"

    async def __aenter__(self) -> Self:
        nodes = [*self.primaries, *self.replicas]
        for node in nodes:
            self._servers.enter_context(node)
        for number, node in enumerate(self.primaries):
            await node.command("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first = self.primaries[0]
        for node in nodes[1:]:
            await node.command("CLUSTER", "MEET", "127.0.0.1", first.port, self._bus_ports[first])
        for node in nodes:
            await self._knows_all(node, len(nodes))
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            await replica.command("CLUSTER", "REPLICATE", await primary.command("CLUSTER", "MYID"))
            await follows(replica)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    async def _knows_all(self, node: RedisServer, nodes: int) -> None:
        async def info() -> bytes:
            said: bytes = await node.command("CLUSTER", "INFO")
            return said

        def is_complete(said: bytes) -> bool:
            return b"cluster_state:ok" in said and b"cluster_known_nodes:%d\r" % nodes in said

        await eventually(f"{node} to know the cluster", info, is_complete)

    async def owner(self, key: str) -> RedisServer:
        """The primary that has the key."""
        slot = await self._slot(key)
        for first, last, (_, port, *_), *_ in await self.primaries[0].command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in [*self.primaries, *self.replicas] if node.port == port)
        raise AssertionError(f"no node has {key}")

    @asynccontextmanager
    async def moving(self, key: str) -> AsyncIterator[RedisServer]:
        """Move all keys of this key's slot to another primary, which is told. At the end of the block, the slot is the
        other's."""
        slot, source = await self._slot(key), await self.owner(key)
        target = next(node for node in self.primaries if node is not source)
        ids = {node: await node.command("CLUSTER", "MYID") for node in (source, target)}
        await target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        await source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        login = ("AUTH", self._password) if self._password else ()
        while keys := await source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            await source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, *login, "KEYS", *keys)
        yield target
        for node in (target, source, *self.primaries):
            await node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    async def _slot(self, key: str) -> int:
        slot: int = await self.primaries[0].command("CLUSTER", "KEYSLOT", key)
        return slot


async def follows(replica: RedisServer) -> None:
    """Wait until it has what its primary has."""

    async def info() -> bytes:
        said: bytes = await replica.command("INFO", "replication")
        return said

    await eventually(f"{replica} to follow", info, lambda said: b"master_link_status:up" in said)
