"""POSTs to addresses supplied by callers. Every IP address, literal or from DNS, is checked against the address policy.

The check happens where sockets are created, the only place that sees every connection: the address of a name may
change between a check and the connect (DNS rebinding), and a literal address never goes through a resolver. A reused
connection was checked when it was created.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

import aiohttp
import psutil
from aiohttp.abc import AbstractResolver

from manager_agent.outbound.address_policy import IP, AddressPolicy, AddressRefused

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
"""Seconds for one try."""
RESPONSE_MAX = 64 * 1024
"""Bytes of a response that are read."""
RESPONSE_TIMEOUT = 0.5
"""Seconds to read them, after the status has arrived."""


class DeliveryFailed(Exception):
    """There was no response. The message has only our own and the system's words, none from the other side."""


class GuardedHttpClient:
    def __init__(
        self,
        address_policy: AddressPolicy,
        *,
        resolver: AbstractResolver | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
        response_timeout: float = RESPONSE_TIMEOUT,
    ) -> None:
        self._address_policy, self._resolver = address_policy, resolver
        self._timeout, self._response_timeout = timeout, response_timeout
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(
            socket_factory=self._socket,
            resolver=self._resolver,
            limit=0,  # each try ends within TIMEOUT; with a shared limit a slow host would delay all others
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=False,  # no proxies, which would connect in our place, and no .netrc
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def deliver(self, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        """POST once and return the status; redirects are not followed. Raises DeliveryFailed."""
        assert self._http is not None, "start() first"
        try:
            url = self._address_policy.admit(address)
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await _read(answer, self._response_timeout)
                return answer.status
        except AddressRefused as refused:
            raise DeliveryFailed(f"address refused: {refused}") from None
        except aiohttp.ClientConnectorError as error:  # wraps AddressRefused for an address found by DNS
            raise DeliveryFailed(f"not connected: {error.strerror or error.os_error}") from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DeliveryFailed(type(error).__name__) from None  # the text of these errors may quote the response

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self._address_policy.check(str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)


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
