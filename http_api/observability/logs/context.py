"""What the log lines of a request are about: bound to every line that is logged for it, and to its last, the access
log's."""

from __future__ import annotations

import structlog
from aiohttp import web

from http_api.request_context import ABOUT, REQUEST_ID, TRACE
from manager_agent.session.session import Session


def begin(request: web.Request, request_id: str) -> None:
    """Of the request alone: it runs in a task of its own, with a context of its own."""
    request[REQUEST_ID] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)


def bind_session(request: web.Request, session: Session, *, service_id: str | None = None) -> None:
    """From now on this request is about this session, and this service of it. A trace that the session does not belong
    to is the request's alone, and called so."""
    about, trace = session.log_fields, request.get(TRACE)
    if trace is not None and trace.trace_id != about.get("trace_id"):
        about["request_trace_id"] = trace.trace_id
        structlog.contextvars.unbind_contextvars("trace_id")
    if service_id is not None:
        about["service_id"] = service_id
    request[ABOUT] = about
    structlog.contextvars.bind_contextvars(**about)
