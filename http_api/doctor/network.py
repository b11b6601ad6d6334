"""Checks of the network here, and of what livekit-server's responses reveal of it: its clock, and its STUN servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from http_api.doctor.finding import Finding, ok, warning, wrong
from http_api.settings.connections import outgoing_connections
from http_api.settings.settings import Settings
from manager_agent.interfaces import NO_INTERFACE, WAY_OUT, has_interface
from manager_agent.proxy_rule import UNUSABLE, ProxyRule

INTERFACE, STUN, PROXIES = "interface", "stun", "proxies"
RESOLVE_TIMEOUT = 3.0


def skew_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds by which the server's clock is certainly ahead; negative: behind. None without a valid Date header, which
    names the beginning of a second, any moment of which it may mean. PURE."""
    try:
        ahead = parsedate_to_datetime(headers["Date"]).timestamp() - now
    except (KeyError, ValueError):
        return None
    return ahead if ahead > 0 else min(ahead + 1.0, 0.0)


def interface() -> Finding:
    """Check that WebRTC finds an interface."""
    if not has_interface():
        return wrong(INTERFACE, NO_INTERFACE, f"{WAY_OUT[0].upper()}{WAY_OUT[1:]}")
    return ok(INTERFACE, "one besides loopback is up")


def proxies(settings: Settings, rule: ProxyRule) -> Finding:
    """Say which way each kind of connection takes."""
    ways = list(outgoing_connections(settings, rule))
    says = "; ".join(f"{connection.what} {connection.how}" for connection in ways)
    if any(UNUSABLE in connection.how for connection in ways):
        return warning(PROXIES, says, "Set HTTP_PROXY or HTTPS_PROXY to an http:// proxy.")
    return ok(PROXIES, says)


async def stun(urls: Iterable[str]) -> Finding:
    """Check that the hosts of these STUN and TURN URLs resolve."""
    hosts = sorted({host for url in urls if not is_literal(host := host_of(url))})
    resolved = await asyncio.gather(*(_resolves(host) for host in hosts))
    unresolved = [host for host, found in zip(hosts, resolved, strict=True) if not found]
    if unresolved:
        return warning(
            STUN,
            f"livekit-server sends clients to {', '.join(unresolved)}, which does not resolve here: each room then "
            "starts dozens of resolver threads",
            "Give a STUN server by IP address under `rtc` in livekit.yaml, such as "
            '`stun_servers: ["127.0.0.1:3478"]`; it does not have to answer.',
        )
    return ok(STUN, f"host names resolve: {', '.join(hosts)}" if hosts else "no host names to resolve")


def host_of(url: str) -> str:
    """The host of `stun:host:port`, `turns:host:port?transport=tcp`, `stun:[::1]:3478`. PURE."""
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
