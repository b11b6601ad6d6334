"""POSTs to addresses that we are told to call. Every address that is dialled, literal or from DNS, passes the guard.

The guard sits where sockets are made, as nothing else sees all of them: what a name stands for may change between a
check and the dial (DNS rebinding), and a literal address never asks a resolver. A connection that is used again was
checked when it was made.
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
"""Bytes of an answer that are read."""
RESPONSE_TIMEOUT = 0.5
"""Seconds for them, once the status is there."""


class DeliveryFailed(Exception):
    """There was no answer. The message has our own words and the system's, nothing that came from the other side."""


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
            limit=0,  # each try ends within TIMEOUT; a shared limit would let one slow host keep the others waiting
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=False,  # neither proxies, who would dial in our place, nor .netrc
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def deliver(self, address: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Posts once and returns the status, a redirect's too. Raises Undelivered."""
        assert self._http is not None, "start() first"
        try:
            url = self._address_policy.admit(address)
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await _read(answer, self._response_timeout)
                return answer.status
        except AddressRefused as refused:
            raise DeliveryFailed(f"address refused: {refused}") from None
        except aiohttp.ClientConnectorError as error:  # with AddressRefused in it, for an address that was dialled
            raise DeliveryFailed(f"not connected: {error.strerror or error.os_error}") from None
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise DeliveryFailed(type(error).__name__) from None  # the text of these may quote what was answered

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self._address_policy.check(str(address[0]), int(address[1]))
        return socket.socket(family, kind, protocol)


async def _read(answer: aiohttp.ClientResponse, seconds: float) -> None:
    """Reads what little may be said, unseen, so that the connection can be used again; else it is closed.

    The status counts as soon as it is there: no body, however broken, endless or late, takes it back.
    """
    left = RESPONSE_MAX
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(seconds):
            while left > 0 and (chunk := await answer.content.read(left)):
                left -= len(chunk)


def is_this_machine(ip: IP) -> bool:
    """Whether a port on this address is a port of this machine: loopback, or an interface's address."""
    return ip.is_loopback or ip in _interface_addresses()


def _interface_addresses() -> set[IP]:
    """As they are now: interfaces come and go."""
    return {
        ip_address(found.address.partition("%")[0])
        for addresses in psutil.net_if_addrs().values()
        for found in addresses
        if found.family in (socket.AF_INET, socket.AF_INET6)
    }
