"""Log, trace and measure every request, whatever its outcome."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from time import perf_counter
from types import TracebackType

from aiohttp import web

from http_api.app_keys import CLOCK, REGISTRY
from http_api.observability.logs.access import log_abandoned
from http_api.observability.logs.context import begin
from http_api.observability.metrics.labels import OTHER
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.tracing import TRACING
from http_api.observability.tracing.requests import RequestSpan
from http_api.operations import Operation
from http_api.problems.problems import REQUEST_ID_HEADER, new_request_id
from http_api.protocol.forwarded import FORWARDED, X_FORWARDED_FOR, client_of
from http_api.request_context import PROBLEM, REMOTE, REQUEST_ID, UNMET
from http_api.settings.settings import SETTINGS
from http_api.stopping import STOPPING
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import UnknownService
from manager_agent.session.required_service import Requirement

ACCEPTED_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ObservedRequest:
    """Inside, a request is under way. Set `status` once there is a response."""

    __slots__ = ("_app", "_operation", "_request", "_span", "_started", "status")

    def __init__(self, request: web.Request, operation: Operation | None) -> None:
        app = request.app
        self._request, self._operation, self._app, self._started = request, operation, app, perf_counter()
        headers, remote = request.headers, request.remote
        if remote is not None:
            if trusted := app[SETTINGS].trusted_proxies:
                forwarded, listed = headers.getall(FORWARDED, ()), headers.getall(X_FORWARDED_FOR, ())
                remote = client_of(remote, forwarded, listed, trusted)
            request[REMOTE] = remote
        theirs = headers.get(REQUEST_ID_HEADER, "")
        begin(request, theirs if ACCEPTED_REQUEST_ID.fullmatch(theirs) else new_request_id())
        self._span = RequestSpan(request, operation, app[TRACING], app[CLOCK])
        self.status: int | None = None

    def __enter__(self) -> ObservedRequest:
        self._app[STOPPING].request_begins()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None) -> None:
        app, request, operation = self._app, self._request, self._operation
        app[STOPPING].request_ends()
        if isinstance(error, asyncio.CancelledError):
            log_abandoned(request, perf_counter() - self._started)
        self._span.end(self.status, error)
        metrics, seconds = app[METRICS], perf_counter() - self._started
        named = None if operation is None else operation.id
        if self.status is not None and self.status < HTTPStatus.BAD_REQUEST:
            metrics.requests.answered(named, self.status, None, seconds)
            return
        metrics.requests.answered(named, self.status, request.get(PROBLEM), seconds)
        for unmet in request.get(UNMET, ()):
            metrics.sessions.refused(_type_of(unmet.requirement, app[REGISTRY]), unmet.reason)


def show_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request id just before the headers are sent. A stream's are sent before its handler returns."""
    if REQUEST_ID in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]


def _type_of(requirement: Requirement, registry: Registry) -> str:
    """The type of a required service; for one required by its id, the registered type, if any."""
    if requirement.service_id is None:
        return requirement.type or OTHER
    try:
        return registry.get(requirement.service_id).type
    except UnknownService:
        return OTHER
