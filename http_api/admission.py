"""Authorization: every request for an operation is admitted or refused here before its handler runs."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.access.principals import ANONYMOUS, Permission
from http_api.errors import MissingScope
from http_api.limits.rate_limits import count_unauthenticated, identify
from http_api.operations import operation_of
from http_api.request_context import PRINCIPAL

UNAUTHENTICATED = frozenset({Permission.PUBLIC, Permission.OWN_PROOF})


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Middleware: identify the caller, and refuse what it may not do or does too often. Raises Unauthorized, Forbidden,
    RateLimited."""
    operation = operation_of(request)
    must_authenticate = operation is not None and operation.access not in UNAUTHENTICATED
    if not must_authenticate and not (operation is not None and operation.is_vital):
        count_unauthenticated(request)
    if operation is None:
        return await handler(request)
    principal = await identify(request) if must_authenticate else ANONYMOUS
    if not principal.may(operation.access):
        assert operation.access.scope is not None
        raise MissingScope(operation.access.scope)
    request[PRINCIPAL] = principal
    return await handler(request)
