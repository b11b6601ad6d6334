"""The keys of facts about one request, used for its log entries, metrics and span."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from http_api.access.principals import Principal
from manager_agent.registry.services import Unmet
from manager_agent.traceparent import TraceContext

PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
"""The caller; set once admission.py has admitted the request."""
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
REMOTE = web.RequestKey("REMOTE", str)
"""The address of the client, behind the proxies in TRUSTED_PROXIES."""
ABOUT: web.RequestKey[Mapping[str, str]] = web.RequestKey("ABOUT")
"""The fields of its log entries: ids by name."""
TRACE = web.RequestKey("TRACE", TraceContext)
"""The context of its own span, or its incoming context; not set if the request is not traced."""
PROBLEM = web.RequestKey("PROBLEM", str)
"""The slug of the problem in the response."""
UNMET: web.RequestKey[tuple[Unmet, ...]] = web.RequestKey("UNMET")
"""The requirements for which no service could be invited."""


def remote_of(request: web.BaseRequest) -> str | None:
    """The address of the client; of the connection if the request never reached the application."""
    remote: str | None = request.get(REMOTE, request.remote)
    return remote
