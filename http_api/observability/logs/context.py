"""The fields bound to all log entries of a request, including the access log's."""

from __future__ import annotations

import structlog
from aiohttp import web

from http_api.request_context import ABOUT, REQUEST_ID, TRACE
from manager_agent.session.session import Session


def begin(request: web.Request, request_id: str) -> None:
    """Bind the request id. It affects only this request, which runs in its own task with its own context."""
    request[REQUEST_ID] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)


def bind_session(request: web.Request, session: Session, *, service_id: str | None = None) -> None:
    """Bind the session, and its service if given, to all further entries of the request. A trace id that differs from
    the session's is logged as `request_trace_id`."""
    about, trace = session.log_fields, request.get(TRACE)
    if trace is not None and trace.trace_id != about.get("trace_id"):
        about["request_trace_id"] = trace.trace_id
        structlog.contextvars.unbind_contextvars("trace_id")
    if service_id is not None:
        about["service_id"] = service_id
    request[ABOUT] = about
    structlog.contextvars.bind_contextvars(**about)
