"""Traces of requests: the trace that a request belongs to, its own span, and the spans of tokens."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from aiohttp import web

from http_api.access.principals import ANONYMOUS, Permission
from http_api.app_keys import CLOCK
from http_api.observability.tracing import TRACING, Tracing
from http_api.observability.tracing.spans import Attribute, Span, SpanRole, session_trace
from http_api.operations import Operation, Tag
from http_api.request_context import ABOUT, PRINCIPAL, PROBLEM, REQUEST_ID, TRACE, remote_of
from manager_agent.clock import Clock
from manager_agent.session.session import Session
from manager_agent.traceparent import TRACEPARENT, TRACESTATE, TraceContext, trace_in

USER_AGENT_MAX = 256


class RequestSpan:
    """A request's place in a trace, for the logs, for the session that it may open, and for its own span."""

    __slots__ = ("_clock", "_incoming", "_request", "_start", "_trace", "_tracing")

    def __init__(self, request: web.Request, operation: Operation | None, tracing: Tracing, clock: Clock) -> None:
        self._request, self._tracing, self._clock = request, tracing, clock
        self._incoming = _incoming(request)
        self._trace = tracing.begin(self._incoming) if _has_span(operation, self._incoming) else self._incoming
        if self._trace is not None:
            request[TRACE] = self._trace
            structlog.contextvars.bind_contextvars(trace_id=self._trace.trace_id)
        self._start = clock()

    def end(self, status: int | None, error: BaseException | None) -> None:
        """Record the span, if the request has its own and its caller is authenticated. `error`: what was raised instead
        of a response."""
        trace, request = self._trace, self._request
        if trace is None or trace is self._incoming or not _is_known(request):
            return
        failure = None
        if isinstance(error, web.HTTPException):
            status = error.status
        elif error is not None:
            failure = type(error).__name__  # CancelledError: the client disconnected
        if status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            failure = request.get(PROBLEM) or str(status)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else request.path
        about = _attributes(request, route, status, failure)
        name, end = f"{request.method} {route}", self._clock()
        self._tracing.record(Span(name, self._incoming, self._start, end, about, failure, SpanRole.SERVER, trace))


def record_token(request: web.Request, session: Session, begun: float) -> None:
    """Record the creation of a token, which was begun at this instant, as a span of the session's trace, if the request
    is traced."""
    if (asked := request.get(TRACE)) is None or (parent := session_trace(session)) is None:
        return
    link = asked if asked.trace_id != parent.trace_id else None
    about, app = {"session_id": session.session_id}, request.app
    app[TRACING].record(Span("token", parent, begun, app[CLOCK](), about, link=link))


def _incoming(request: web.Request) -> TraceContext | None:
    headers = request.headers
    if TRACEPARENT not in headers:
        return None
    return trace_in(headers.getall(TRACEPARENT), headers.getall(TRACESTATE, ()))


def _has_span(operation: Operation | None, incoming: TraceContext | None) -> bool:
    """Whether a request has its own span: requests that change sessions, and requests with an incoming trace.
    Constantly repeated requests have none, because they would hide the rest, and public ones neither, because any
    client could fill the collector with them."""
    if operation is None or operation.is_vital or operation.access is Permission.PUBLIC:
        return False
    acts = operation.method != "GET" and operation.tag in (Tag.SESSIONS, Tag.TOKENS)
    return acts or incoming is not None


def _is_known(request: web.Request) -> bool:
    """Whether the caller is authenticated: by admission, or by the handler, which binds a session only then."""
    return request.get(PRINCIPAL, ANONYMOUS) is not ANONYMOUS or ABOUT in request


def _attributes(request: web.Request, route: str, status: int | None, failure: str | None) -> dict[str, Attribute]:
    """The span, with the attributes of OpenTelemetry's semantic conventions for HTTP servers; `request_id` and
    `problem` as in the logs."""
    about: dict[str, Attribute | None] = {
        "http.request.method": request.method,
        "http.route": route,
        "http.response.status_code": status,
        "url.scheme": request.scheme,
        "url.path": request.path,
        "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        "client.address": remote_of(request),
        "user_agent.original": request.headers.get("User-Agent", "")[:USER_AGENT_MAX] or None,
        "error.type": failure,
        "request_id": request[REQUEST_ID],
        "problem": request.get(PROBLEM),
    }
    return {name: value for name, value in about.items() if value is not None}
