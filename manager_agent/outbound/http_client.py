"""POSTs to addresses supplied by callers. Every IP address, literal or from DNS, is checked against the address policy.

The check happens where sockets are created, the only place that sees every connection: the address of a name may
change between a check and the connect (DNS rebinding), and a literal address never goes through a resolver. A reused
connection was checked when it was created.

A server may close an idle connection at the moment at which it is reused (uvicorn and Node.js do after 5 seconds). That
says nothing about the server, and what we post is idempotent: it is sent again at once, on a new connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from types import SimpleNamespace

import aiohttp
import psutil
from aiohttp.abc import AbstractResolver
from yarl import URL

from manager_agent.outbound.address_policy import IP, AddressPolicy, AddressRefused
from manager_agent.outbound.fair_slots import FairSlots, SlotBounds
from manager_agent.outbound.lookups import Lookups, lookups_for
from manager_agent.resend import CLOSED

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
"""Seconds for one try."""
BOUNDS = SlotBounds(in_all=100, per_owner=20, per_target=20)
"""Concurrent tries: in all, for one owner, and for one URL."""
RESPONSE_MAX = 64 * 1024
"""Bytes of a response that are read."""
RESPONSE_TIMEOUT = 0.5
"""Seconds to read them, after the status has arrived."""


class DeliveryFailed(Exception):
    """There was no response. The message has only our own and the system's words, none from the other side."""

    def __init__(self, message: str, refusal: str | None = None) -> None:
        """`refusal`: why the address policy refused the address, in words for the caller that supplied it."""
        super().__init__(message)
        self.refusal = refusal


@dataclass(slots=True)
class Connection:
    """What a try knows of its connection."""

    is_reused: bool = False


class GuardedHttpClient:
    """`slots`: hold one for each deliver(); they bound the number of connections."""

    def __init__(
        self,
        address_policy: AddressPolicy,
        *,
        bounds: SlotBounds = BOUNDS,
        resolver: AbstractResolver | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        response_timeout: float = RESPONSE_TIMEOUT,
    ) -> None:
        self._address_policy, self._resolver = address_policy, resolver
        self._timeout, self._response_timeout = timeout, response_timeout
        self.slots = FairSlots(bounds)
        self._reusing: aiohttp.ClientSession | None = None
        self._connecting: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        resolver = self._resolver or Lookups()
        self._reusing = self._session(resolver, force_close=False)
        self._connecting = self._session(resolver, force_close=True)

    async def aclose(self) -> None:
        for session in (self._reusing, self._connecting):
            if session is not None:
                await session.close()

    async def deliver(self, address: str, body: bytes, headers: Mapping[str, str], *, owner: str = "") -> int:
        """POST and return the status; redirects are not followed. `owner`: on whose behalf. Raises DeliveryFailed."""
        try:
            url = self._address_policy.admit(address)
            with lookups_for(owner):
                return await self._post(url, body, headers)
        except AddressRefused as refused:
            raise DeliveryFailed(f"address refused: {refused}", refused.public) from None
        except aiohttp.ClientConnectorError as error:  # wraps AddressRefused for an address found by DNS
            refusal = error.os_error.public if isinstance(error.os_error, AddressRefused) else None
            raise DeliveryFailed(f"not connected: {error.strerror or error.os_error}", refusal) from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DeliveryFailed(type(error).__name__) from None  # the text of these errors may quote the response

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        """POST once, or, when a reused connection turns out to be closed, once more on a new one."""
        assert self._reusing is not None, "start() first"
        assert self._connecting is not None
        connection = Connection()
        try:
            status = await self._try(self._reusing, url, body, headers, connection)
        except CLOSED:
            if not connection.is_reused:
                raise
        else:
            if not (connection.is_reused and status == HTTPStatus.REQUEST_TIMEOUT):
                return status  # 408 is how some servers announce that they close an idle connection
        return await self._try(self._connecting, url, body, headers, Connection())

    async def _try(
        self, session: aiohttp.ClientSession, url: URL, body: bytes, headers: Mapping[str, str], connection: Connection
    ) -> int:
        posting = session.post(url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=connection)
        async with posting as answer:
            await _read(answer, self._response_timeout)
            return answer.status

    def _session(self, resolver: AbstractResolver, *, force_close: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            socket_factory=self._socket,
            resolver=resolver,
            use_dns_cache=False,  # it would share the lookups of one owner, and their failures, with the others
            limit=0,  # `slots` bounds them, fairly
            force_close=force_close,
        )
        reuse = aiohttp.TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=False,  # no .netrc, and no proxy, which would connect in our place, past the address policy
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            trace_configs=[reuse],
        )

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self._address_policy.check(str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.is_reused = True


async def _read(answer: aiohttp.ClientResponse, seconds: float) -> None:
    """Read and discard a short body, so that the connection can be reused; close it otherwise.

    The status counts as soon as it arrives, even if the body is broken, endless or late.
    """
    left = RESPONSE_MAX
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(seconds):
            while left > 0 and (chunk := await answer.content.read(left)):
                left -= len(chunk)


def is_this_machine(ip: IP) -> bool:
    """Whether this address belongs to this machine: loopback, or the address of an interface."""
    return ip.is_loopback or ip in _interface_addresses()


def _interface_addresses() -> set[IP]:
    """Read on each call, as interfaces come and go."""
    return {
        ip_address(found.address.partition("%")[0])
        for addresses in psutil.net_if_addrs().values()
        for found in addresses
        if found.family in (socket.AF_INET, socket.AF_INET6)
    }
