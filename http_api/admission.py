"""Authorization: every request for an operation is admitted or refused here before its handler runs."""

from __future__ import annotations

from aiohttp import web

from http_api.access.principals import ANONYMOUS, Permission
from http_api.errors import CrossSite, Misdirected, MissingScope
from http_api.limits.rate_limits import count_failure, count_public, count_unknown, identify
from http_api.operations import Media, Operation
from http_api.protocol.local_callers import is_foreign_page, names_loopback
from http_api.request_context import PRINCIPAL
from http_api.settings.settings import SETTINGS


async def admit(request: web.Request, operation: Operation | None) -> None:
    """Identify the caller, and refuse what it may not do or does too often. Raises Misdirected, CrossSite,
    Unauthorized, Forbidden, RateLimited."""
    if request.app[SETTINGS].is_open:
        _refuse_foreign_pages(request, operation)
    if operation is None:
        await count_unknown(request)
        return
    match operation.access:
        case Permission.OWN_PROOF:
            request[PRINCIPAL] = ANONYMOUS
            return
        case Permission.PUBLIC:
            if not operation.is_vital:
                await count_public(request)
            principal = ANONYMOUS
        case _:
            principal = await identify(request)
    if not principal.may(operation.access):
        assert operation.access.scope is not None
        raise MissingScope(operation.access.scope)
    request[PRINCIPAL] = principal


async def count_refused(request: web.Request, operation: Operation) -> None:
    """Count a credential that the handler has refused, if the handler verifies it itself. Raises RateLimited."""
    if operation.access is Permission.OWN_PROOF and not operation.is_vital:
        await count_failure(request)


def _refuse_foreign_pages(request: web.Request, operation: Operation | None) -> None:
    """Refuse what pages of other origins send while callers need no credentials. Raises Misdirected, CrossSite.

    A program that signs its requests, such as livekit-server, may know us under another name. A page may not, signed or
    not: everyone knows the key of dev mode. Browsers send Origin with every POST. A link to one of our pages is
    admitted.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if operation is not None and operation.access is Permission.OWN_PROOF and origin is None and site is None:
        return
    host = request.headers.get("Host", "")
    if not (names_loopback(host) and names_loopback(request.host)):  # they differ if the request line has a URL
        raise Misdirected
    if is_foreign_page(host, origin, site, request.app[SETTINGS].allowed_origins) and not (
        origin is None and _is_followed_link(request, operation)
    ):
        raise CrossSite


def _is_followed_link(request: web.Request, operation: Operation | None) -> bool:
    to_page = operation is not None and any(answer.media is Media.HTML for answer in operation.answers.values())
    fetched = request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")
    return to_page and fetched == ("navigate", "document")
