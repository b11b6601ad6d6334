"""Holds everybody to his rate: known callers by their name, and whoever proves nothing by the address he calls from.

Who fails to prove himself uses up an allowance of its own that his address has: guessing is slow, and neither services
that say they are ready nor whoever reads the documentation can use up what callers of the same address need to come in.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from http_api.access.authentication import AUTHENTICATOR
from http_api.access.principals import Principal
from http_api.errors import RateLimited, Unauthorized
from http_api.limits.gcra import Allowance, RateLimits
from http_api.settings.settings import SETTINGS

SUBNET = 64
"""Bits of an IPv6 address that count: the rest is his who has the subnet, to choose as he likes."""


async def identify(request: web.Request) -> Principal:
    """Who is asking, counted against his rate. Raises RateLimited, and what Authenticator.identify does."""
    limits, address = request.app[RATE_LIMITS], address_of(request.remote)
    _count(request, limits.failures.look(address))
    try:
        principal = await request.app[AUTHENTICATOR].identify(request)
    except Unauthorized:
        _count(request, limits.failures.take(address))
        raise
    del request[ALLOWANCE]
    if not principal.is_trusted:
        _count(request, limits.principals.take(f"{principal.name} {principal.identity or ''}"))
    return principal


def count_stranger(request: web.Request) -> None:
    """Counts a request of somebody who need not say who he is. Raises RateLimited."""
    if not request.app[SETTINGS].is_open:
        _count(request, request.app[RATE_LIMITS].strangers.take(address_of(request.remote)))


async def show_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Just before the headers are sent, also those of a stream or of a problem."""
    if (allowance := request.get(ALLOWANCE)) is not None:
        response.headers.update(allowance.headers())


def address_of(remote: str | None) -> str:
    """Whom an address stands for: itself, or its subnet. PURE."""
    try:
        address: IPv4Address | IPv6Address = ip_address((remote or "").partition("%")[0])
    except ValueError:  # a Unix socket: all who use it are one
        return ""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Network((int(address), SUBNET), strict=False))


def _count(request: web.Request, allowance: Allowance) -> None:
    request[ALLOWANCE] = allowance
    if not allowance.granted:
        rate = allowance.rate
        raise RateLimited(rate.per_second, rate.burst, allowance.retry_after)


RATE_LIMITS = web.AppKey("RATE_LIMITS", RateLimits)


ALLOWANCE = web.RequestKey("ALLOWANCE", Allowance)
"""What is left to whoever sent the request, where that is limited."""
