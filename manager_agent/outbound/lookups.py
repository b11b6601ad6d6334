"""Resolves the host names of addresses supplied by callers, in threads of its own.

`getaddrinfo` can't be interrupted: with a name server that does not answer, it occupies its thread for up to half a
minute, long after we gave up. So these lookups share no threads with LiveKit's and the disk's work, one owner may
occupy a few of them only, and each lookup has a time limit.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Thread
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from manager_agent.outbound.fair_slots import FairSlots, SlotBounds, TooManyWaiting

LOOKUP_TIMEOUT = 1.5
"""Seconds for one lookup, including the wait for a thread."""
BOUNDS = SlotBounds(in_all=64, per_owner=8, per_target=2, waiting_per_owner=128)
"""Concurrent lookups (threads): in all, for one owner, and for one host name."""
ADDRESSES_MAX = 8
"""The number of addresses of one name that are tried."""

GetAddrInfo = Callable[..., list[Any]]
_owner: ContextVar[str] = ContextVar("owner", default="")
"""On whose behalf the current task looks up names: aiohttp's resolvers are not told."""


@contextmanager
def lookups_for(owner: str) -> Iterator[None]:
    """Within the block, lookups are made on behalf of this owner."""
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


class Lookups(AbstractResolver):
    """aiohttp's resolver for a GuardedHttpClient."""

    def __init__(
        self, *, bounds: SlotBounds = BOUNDS, timeout: float = LOOKUP_TIMEOUT, resolve: GetAddrInfo = socket.getaddrinfo
    ) -> None:
        self._slots, self._timeout, self._resolve = FairSlots(bounds), timeout, resolve
        self._running: dict[tuple[str, str, int], asyncio.Task[list[Any]]] = {}
        """By owner, host name and address family: connections that begin together share a lookup."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of the host. Raises OSError if there are none, or within the time limit none were found."""
        key = (_owner.get(), host, family)
        looking_up = self._running.get(key)
        if looking_up is None:
            looking_up = self._running[key] = asyncio.create_task(self._found(*key), name=f"look up {host}")
            looking_up.add_done_callback(lambda done: self._end(key, done))
        found = await asyncio.shield(looking_up)  # others may wait for it too
        return [
            ResolveResult(
                hostname=host,
                host=_numeric(address),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, address in found[:ADDRESSES_MAX]
        ]

    async def close(self) -> None:
        """Nothing to close: the threads are daemons, so a lookup that hangs does not delay the end of the process."""

    async def _found(self, owner: str, host: str, family: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire(owner, host)
                looking_up = self._in_thread(host, family)
                looking_up.add_done_callback(lambda done: self._free(done, owner, host))
                return await asyncio.shield(looking_up)  # its thread occupies the slot until it ends
        except TimeoutError:
            raise OSError(None, f"the host name was not resolved within {self._timeout} s") from None
        except TooManyWaiting:
            raise OSError(None, "too many host names of this caller are being resolved") from None

    def _end(self, key: tuple[str, str, int], done: asyncio.Task[list[Any]]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # retrieved, as its callers may have given up

    def _in_thread(self, host: str, family: int) -> asyncio.Future[list[Any]]:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Any]] = loop.create_future()

        def finish(found: list[Any] | None, error: Exception | None) -> None:
            if not result.done():
                result.set_exception(error) if error is not None else result.set_result(found or [])

        def look_up() -> None:
            found, failed = None, None
            try:
                found = self._resolve(host, 0, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
            except Exception as error:
                failed = error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, found, failed)

        Thread(target=look_up, name="service-lookup", daemon=True).start()
        return result

    def _free(self, done: asyncio.Future[Any], owner: str, host: str) -> None:
        self._slots.release(owner, host)
        if not done.cancelled():
            done.exception()  # retrieved, as its caller may have given up


def _numeric(address: tuple[Any, ...]) -> str:
    """The address with its zone, if it has one: the address policy refuses such."""
    if len(address) == 4 and address[3]:
        return f"{address[0].partition('%')[0]}%{address[3]}"
    return str(address[0])
