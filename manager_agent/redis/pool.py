"""Connections to the primary, logged in, kept while they work."""

from __future__ import annotations

import math
from typing import Any

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from manager_agent.redis.faults import DatabaseMissing
from manager_agent.redis.primary import Address, primary_of, tls_options
from manager_agent.redis.url import RedisUrl

NAME = "session-manager"
"""Of each connection in CLIENT LIST."""
USED_ONCE = -1


class Pool:
    """Hands out each connection to one user at a time. How many there are is bounded by their users."""

    def __init__(self, url: RedisUrl, key: str) -> None:
        """`key`: one of the deployment. The caller bounds all times: redis-py would do it with `asyncio.wait_for`,
        which in Python 3.11 may swallow a cancellation."""
        self._url = url
        self._primary = primary_of(url, key)
        self._options: dict[str, Any] = {
            "socket_connect_timeout": None,
            "socket_timeout": None,
            # Whether a command may be sent again is known where it is sent.
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,  # sends nothing: _log_in does
        }
        self._tls: RedisSSLContext | None = None
        self._idle: list[AbstractConnection] = []
        self._generation: dict[AbstractConnection, int] = {}
        """Of the connections in use: how often the primary had been lost when each was made."""
        self._losses = 0
        self._is_closed = False

    async def acquire(self) -> AbstractConnection:
        """Raises errors of redis-py and OSError."""
        if self._is_closed:
            raise ConnectionError("closed")
        while self._idle:
            connection = self._idle.pop()
            # One that can be read has ended, or has an answer that was given up.
            if connection.is_connected and not await connection.can_read():
                self._generation[connection] = self._losses
                return connection
            await connection.disconnect(nowait=True)
        losses = self._losses
        connection = await self.connect(await self._primary.find())
        self._generation[connection] = losses
        return connection

    async def connect(self, address: Address) -> AbstractConnection:
        """A new connection to this server, used once. Raises errors of redis-py and OSError."""
        connection = self._new(address)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await self._log_in(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._generation[connection] = USED_ONCE
        return connection

    async def _log_in(self, connection: AbstractConnection) -> None:
        """Send all that comes first at once: redis-py would wait for each answer, which a slow Redis makes long."""
        url = self._url
        login: list[tuple[str, ...]] = [("CLIENT", "SETNAME", NAME)]
        if url.username or url.password:
            login.insert(0, ("AUTH", *filter(None, [url.username]), url.password))
        if url.db:
            login.append(("SELECT", str(url.db)))
        await connection.send_packed_command(connection.pack_commands(login), check_health=False)
        for command, *_ in login:
            try:
                await connection.read_response(timeout=math.inf)
            except exceptions.ResponseError as refusal:
                if command == "AUTH" or (command == "SELECT" and isinstance(refusal, exceptions.NoPermissionError)):
                    raise exceptions.AuthenticationError from None
                if command == "SELECT":
                    raise DatabaseMissing(url.db) from None

    def _new(self, address: Address) -> AbstractConnection:
        if self._url.kind == "unix":
            return UnixDomainSocketConnection(path=self._url.path, **self._options)
        host, port = address
        if not self._url.tls:
            return Connection(host=host, port=port, **self._options)
        connection = SSLConnection(host=host, port=port, **self._options, **tls_options(self._url))
        # Made once: reading the system's authorities takes milliseconds.
        self._tls = connection.ssl_context = self._tls or connection.ssl_context
        return connection

    async def release(self, connection: AbstractConnection, *, is_reusable: bool) -> None:
        if self._generation.pop(connection) == self._losses and is_reusable:
            self._idle.append(connection)
        else:
            await connection.disconnect(nowait=True)

    def not_reached(self) -> None:
        """No connection could be opened. Those there are may work all the same: Redis may only be slow."""
        self._primary.forget()

    async def lost(self, connection: AbstractConnection | None = None) -> None:
        """The primary did not answer, or is it no more. Connections in use are closed when they are released.

        `connection`: on which that was seen. It says nothing of a primary that was found since it was made."""
        if connection is not None and self._generation[connection] != self._losses:
            return
        self._losses += 1
        self._primary.forget()
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def moved(self, address: Address) -> None:
        await self.lost()
        self._primary.moved(address)

    async def aclose(self) -> None:
        self._is_closed = True
        await self.lost()
        for connection in list(self._generation):
            await connection.disconnect(nowait=True)
        await self._primary.aclose()
