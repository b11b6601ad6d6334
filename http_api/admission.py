"""Authorization: every request for an operation is admitted or refused here before its handler runs."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.access.principals import ANONYMOUS, Permission
from http_api.errors import CrossSite, Misdirected, MissingScope, Unauthorized
from http_api.limits.rate_limits import count_failure, count_public, count_unknown, identify
from http_api.operations import Media, Operation, operation_of
from http_api.protocol.local_callers import is_foreign_page, names_loopback
from http_api.request_context import PRINCIPAL
from http_api.settings.settings import SETTINGS
from manager_agent.livekit.tokens import InvalidToken


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware: identify the caller, and refuse what it may not do or does too often. Raises Misdirected, CrossSite,
    Unauthorized, Forbidden, RateLimited."""
    operation = operation_of(request)
    if request.app[SETTINGS].is_open:
        _refuse_foreign_pages(request, operation)
    if operation is None:
        await count_unknown(request)
        return await handler(request)
    match operation.access:
        case Permission.OWN_PROOF:
            return await _with_own_proof(request, handler, operation)
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
    return await handler(request)


async def _with_own_proof(request: web.Request, handler: Handler, operation: Operation) -> web.StreamResponse:
    """Run a handler that verifies the credential itself, and count it when that fails."""
    request[PRINCIPAL] = ANONYMOUS
    try:
        return await handler(request)
    except (InvalidToken, Unauthorized):
        if not operation.is_vital:
            await count_failure(request)
        raise


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
    if is_foreign_page(host, origin, site, request.app[SETTINGS].cors_origins) and not (
        origin is None and _is_followed_link(request, operation)
    ):
        raise CrossSite


def _is_followed_link(request: web.Request, operation: Operation | None) -> bool:
    to_page = operation is not None and any(answer.media is Media.HTML for answer in operation.answers.values())
    fetched = request.headers.get("Sec-Fetch-Mode"), request.headers.get("Sec-Fetch-Dest")
    return to_page and fetched == ("navigate", "document")
