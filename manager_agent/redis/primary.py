"""Where the server is that has a deployment's keys: the only one, the primary that sentinels name, or a node of a
cluster. redis-py knows how to ask."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from redis.asyncio import RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from manager_agent.redis.url import RedisUrl

GUIDE_TIMEOUT = 1.2
"""Seconds for one sentinel or node. It may be slow and want a login first: two answers that take half a second each.
When it does not answer, the next one is asked at once, and before it in a later search."""

Address = tuple[str, int]
"""Host and port."""


class Primary(Protocol):
    async def find(self) -> Address:
        """Where it is, as far as is known. Raises errors of redis-py and OSError."""

    def forget(self) -> None:
        """It did not answer, or is not the primary: look for it again."""

    def moved(self, address: Address) -> None:
        """A cluster said where the keys are now."""

    async def aclose(self) -> None: ...


def primary_of(url: RedisUrl, key: str) -> Primary:
    """`key`: one of the deployment; all are in one slot."""
    match url.kind:
        case "sentinel":
            return SentinelPrimary(url)
        case "cluster":
            return ClusterPrimary(url, key)
    return OnlyServer(url.nodes[0] if url.nodes else ("", 0))


def tls_options(url: RedisUrl) -> dict[str, Any]:
    """The arguments of redis-py's connections about TLS; none without TLS."""
    if not url.tls:
        return {}
    return {
        "ssl_ca_certs": url.ca_file or None,
        "ssl_certfile": url.certificate_file or None,
        "ssl_keyfile": url.key_file or None,
        "ssl_cert_reqs": "required" if url.verify else "none",
        "ssl_check_hostname": url.check_hostname and url.verify,
    }


def _guide_options(url: RedisUrl, username: str, password: str) -> dict[str, Any]:
    return {
        "username": username or None,
        "password": password or None,
        "socket_connect_timeout": GUIDE_TIMEOUT,
        "socket_timeout": GUIDE_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,  # it would wait for one more answer
        "ssl": url.tls,
        **tls_options(url),
    }


class OnlyServer:
    def __init__(self, address: Address) -> None:
        self._address = address

    async def find(self) -> Address:
        return self._address

    def forget(self) -> None:
        pass  # its name is resolved anew for each connection

    def moved(self, address: Address) -> None:
        pass  # a cluster, but the URL does not say so: the answer is an error

    async def aclose(self) -> None:
        pass


class SentinelPrimary:
    def __init__(self, url: RedisUrl) -> None:
        # Each alone, and bounded here: redis-py would do it with `asyncio.wait_for`, as in pool.py.
        login = _guide_options(url, url.sentinel_username, url.sentinel_password) | {"socket_timeout": None}
        self._sentinels: list[Sentinel] = [
            Sentinel([node], sentinel_kwargs=login)  # type: ignore[no-untyped-call]
            for node in url.nodes
        ]
        self._service = url.service

    async def find(self) -> Address:
        failure: Exception | None = None
        for sentinel in list(self._sentinels):
            try:
                async with asyncio.timeout(GUIDE_TIMEOUT):
                    host, port = await sentinel.discover_master(self._service)
            except (OSError, RedisError) as error:
                failure = error
                self._sentinels.remove(sentinel)
                self._sentinels.append(sentinel)  # there may be no time left for all that follow
            else:
                return str(host), int(port)
        raise failure or MasterNotFoundError

    def forget(self) -> None:
        pass  # sentinels are asked for each connection

    def moved(self, address: Address) -> None:
        pass

    async def aclose(self) -> None:
        for sentinel in self._sentinels:
            await sentinel.aclose()


class ClusterPrimary:
    def __init__(self, url: RedisUrl, key: str) -> None:
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in url.nodes],
            require_full_coverage=False,  # other slots don't matter
            **_guide_options(url, url.username, url.password),
        )
        self._cluster = cluster
        self._key = key
        self._address: Address | None = None

    async def find(self) -> Address:
        if self._address is None:
            await self._cluster.nodes_manager.initialize()
            node = self._cluster.get_node_from_key(self._key)
            assert node is not None  # only a node that was asked for as a replica may be
            self._address = node.host, int(node.port)
        return self._address

    def forget(self) -> None:
        self._address = None

    def moved(self, address: Address) -> None:
        self._address = address if address[0] else None

    async def aclose(self) -> None:
        await self._cluster.nodes_manager.aclose()
        await self._cluster.nodes_manager.aclose("startup_nodes")
