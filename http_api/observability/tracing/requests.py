"""Requests and traces: the trace that a request belongs to, its own span in it, and the tokens that it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.access.principals import ANONYMOUS, Permission
from http_api.manager_parts import CLOCK
from http_api.observability.tracing import TRACING
from http_api.observability.tracing.spans import Attribute, Kind, Span, session_trace
from http_api.operations import Operation, Tag, operation_of
from http_api.request_context import ABOUT, PRINCIPAL, PROBLEM, REQUEST_ID, TRACE
from manager_agent.session.session import Session
from manager_agent.traceparent import TraceContext, trace_in

USER_AGENT_MAX = 256


@web.middleware
async def traces(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Finds a request's place in a trace, for the logs, for the session that it may open, and for its own span."""
    operation, incoming = operation_of(request), trace_in(request.headers.items())
    trace = request.app[TRACING].begin(incoming) if _has_span(operation, incoming) else incoming
    if trace is None:
        return await handler(request)
    request[TRACE] = trace
    with structlog.contextvars.bound_contextvars(trace_id=trace.trace_id):
        if trace is incoming:
            return await handler(request)
        return await _recorded(request, handler, trace, incoming)


def in_its_trace(session: Session, request: web.Request) -> Session:
    """A session that this request opens, as part of the request's trace."""
    trace = request.get(TRACE)
    return session if trace is None else replace(session, traceparent=trace.traceparent, tracestate=trace.state)


@contextmanager
def giving_token(request: web.Request, session: Session) -> Iterator[None]:
    """Around the making of a token: a span of the session's trace, if the request has one itself."""
    app = request.app
    start = app[CLOCK]()
    yield
    parent, asked = session_trace(session), request.get(TRACE)
    if parent is not None and asked is not None:
        link = asked if asked.trace_id != parent.trace_id else None
        about = {"session_id": session.session_id}
        app[TRACING].record(Span("token", parent, start, app[CLOCK](), about, link=link))


def _has_span(operation: Operation | None, incoming: TraceContext | None) -> bool:
    """Requests that do something about sessions have one, and all whose callers trace them. What is asked all the time
    has none: it would hide the rest. Nor has what anybody may ask for: anybody could fill the collector."""
    if operation is None or operation.is_vital or operation.access is Permission.PUBLIC:
        return False
    acts = operation.method != "GET" and operation.tag in (Tag.SESSIONS, Tag.TOKENS)
    return acts or incoming is not None


async def _recorded(
    request: web.Request, handler: Handler, trace: TraceContext, incoming: TraceContext | None
) -> web.StreamResponse:
    """The answer; the span of it is recorded, unless it is a stranger's."""
    clock, status, failure = request.app[CLOCK], None, None
    start = clock()
    try:
        answer = await handler(request)
        status = answer.status
        return answer
    except web.HTTPException as error:
        status = error.status
        raise
    except BaseException as error:
        failure = type(error).__name__  # CancelledError: its client is gone
        raise
    finally:
        if _is_known(request):
            request.app[TRACING].record(_span(request, trace, incoming, start, clock(), status, failure))


def _is_known(request: web.Request) -> bool:
    """Whoever asks has proved who he is: to admission, or else to the handler, which speaks of a session only then."""
    return request.get(PRINCIPAL, ANONYMOUS) is not ANONYMOUS or ABOUT in request


def _span(
    request: web.Request,
    trace: TraceContext,
    incoming: TraceContext | None,
    start: float,
    end: float,
    status: int | None,
    failure: str | None,
) -> Span:
    """By OpenTelemetry's semantic conventions for HTTP servers; `request_id` and `problem` as in the logs."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else request.path
    problem = request.get(PROBLEM)
    if status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        failure = problem or str(status)
    about: dict[str, Attribute | None] = {
        "http.request.method": request.method,
        "http.route": route,
        "http.response.status_code": status,
        "url.scheme": request.scheme,
        "url.path": request.path,
        "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        "client.address": request.remote,
        "user_agent.original": request.headers.get("User-Agent", "")[:USER_AGENT_MAX] or None,
        "error.type": failure,
        "request_id": request[REQUEST_ID],
        "problem": problem,
    }
    known = {name: value for name, value in about.items() if value is not None}
    return Span(f"{request.method} {route}", incoming, start, end, known, failure, Kind.SERVER, trace)
