"""What livekit-server's answers say of the network: the time over there, and the STUN servers that it names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from http_api.doctor.finding import Finding, ok, warning

STUN = "stun"
RESOLVE_TIMEOUT = 3.0


def skew_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds by which the clock of whoever answers is ahead; to a second. None when it does not say. PURE."""
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp() - now
    except (KeyError, ValueError):
        return None


async def stun(urls: Iterable[str]) -> Finding:
    """Whether everybody who joins can find the servers of these URLs."""
    hosts = sorted({host for url in urls if not is_literal(host := host_of(url))})
    resolved = await asyncio.gather(*(_resolves(host) for host in hosts))
    lost = [host for host, found in zip(hosts, resolved, strict=True) if not found]
    if lost:
        return warning(
            STUN,
            f"livekit-server sends clients to {', '.join(lost)}, which can't be resolved here: each room then starts "
            "dozens of resolver threads",
            'Name one by its address under `rtc` in livekit.yaml, such as `stun_servers: ["127.0.0.1:3478"]`; it need '
            "not even answer.",
        )
    return ok(STUN, f"by name, which can be resolved: {', '.join(hosts)}" if hosts else "by address, or none")


def host_of(url: str) -> str:
    """That of `stun:host:port`, `turns:host:port?transport=tcp`, `stun:[::1]:3478`. PURE."""
    rest = url.partition(":")[2].partition("?")[0]
    return rest[1:].partition("]")[0] if rest.startswith("[") else rest.partition(":")[0]


def is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _resolves(host: str) -> bool:
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError):
        return False
    return True
