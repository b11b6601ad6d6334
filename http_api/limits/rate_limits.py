"""Enforce rate limits: callers that prove who they are by name, all other requests by address.

Credentials are verified first, and only requests that fail count against the address: behind a reverse proxy all
clients may have one address, and one with wrong credentials must not keep out the others. Requests to public
operations, requests to paths that do not exist, and failed authentications each have an allowance of their own.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from http_api.access.authentication import AUTHENTICATOR
from http_api.access.principals import Principal
from http_api.errors import RateLimited, Unauthorized
from http_api.limits.gcra import Allowance
from http_api.limits.rates import RateLimits
from http_api.request_context import remote_of
from http_api.settings.settings import SETTINGS

SUBNET = 64
"""The bits of an IPv6 address that count: a client can choose the rest freely within its subnet."""


async def identify(request: web.Request) -> Principal:
    """The caller of the request, counted against its rate. Raises RateLimited, and what Authenticator.identify
    raises."""
    limits = request.app[RATE_LIMITS]
    try:
        principal = await request.app[AUTHENTICATOR].identify(request)
    except Unauthorized:
        await count_failure(request)
        raise
    if not principal.is_trusted:
        _count(request, await limits.principals.take(principal.name))
    return principal


async def count_failure(request: web.Request) -> None:
    """Count a request whose credentials are not valid. Raises RateLimited."""
    _count(request, await request.app[RATE_LIMITS].failures.take(address_of(remote_of(request))))


async def count_public(request: web.Request) -> None:
    """Count a request that needs no authentication. Raises RateLimited."""
    if not request.app[SETTINGS].is_open:
        _count(request, await request.app[RATE_LIMITS].public.take(address_of(remote_of(request))))


async def count_unknown(request: web.Request) -> None:
    """Count a request to a path or method that does not exist. Raises RateLimited."""
    if not request.app[SETTINGS].is_open:
        _count(request, await request.app[RATE_LIMITS].unknown.take(address_of(remote_of(request))))


async def count_invited(request: web.Request, identity: str) -> None:
    """Count a request with the token of an invite, whose signature is valid. Raises RateLimited."""
    if not request.app[SETTINGS].is_open:
        _count(request, await request.app[RATE_LIMITS].invited.take(identity))


def show_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Add the rate limit headers to every response, including streams and problems."""
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
