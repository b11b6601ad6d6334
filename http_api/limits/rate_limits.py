"""Enforce rate limits: authenticated callers by name, all other requests by address.

Failed authentications count against a separate allowance of the address. This slows down guessing, and requests without
credentials (services that signal ready, readers of the documentation) can't exhaust the allowance that callers at the
same address need to authenticate.
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
"""The bits of an IPv6 address that count: a client can choose the rest freely within its subnet."""


async def identify(request: web.Request) -> Principal:
    """The caller of the request, counted against its rate. Raises RateLimited, and what Authenticator.identify
    raises."""
    limits, address = request.app[RATE_LIMITS], address_of(request.remote)
    _count(request, limits.failures.look(address))
    try:
        principal = await request.app[AUTHENTICATOR].identify(request)
    except Unauthorized:
        _count(request, limits.failures.take(address))
        raise
    del request[ALLOWANCE]
    if not principal.is_trusted:
        _count(request, limits.principals.take(principal.name))
    return principal


def count_unauthenticated(request: web.Request) -> None:
    """Count a request that needs no authentication. Raises RateLimited."""
    if not request.app[SETTINGS].is_open:
        _count(request, request.app[RATE_LIMITS].unauthenticated.take(address_of(request.remote)))


async def show_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: add the rate limit headers to every response, including streams and problems."""
    if (allowance := request.get(ALLOWANCE)) is not None:
        response.headers.update(allowance.headers())


def address_of(remote: str | None) -> str:
    """The key under which an address is counted: the address itself, or its IPv6 subnet. PURE."""
    try:
        address: IPv4Address | IPv6Address = ip_address((remote or "").partition("%")[0])
    except ValueError:  # a Unix socket: all its clients count as one
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
"""What the sender of the request has left, if the request is rate-limited."""
