"""The last log entry of each request: that it was answered, or that its client disconnected."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from http_api.request_context import ABOUT, PRINCIPAL, PROBLEM, REQUEST_ID, TRACE, remote_of

log = structlog.get_logger()

BY_MACHINES = frozenset({"/health", "/livez", "/readyz", "/metrics", "/livekit/webhook"})
"""Requested constantly; logged at info only on failure."""
PATH_MAX = 1_024
"""The maximum characters of a path that are logged."""


class AccessLog(AbstractAccessLogger):
    """One event for each answered request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """`time`: the duration in seconds."""
        status = response.status
        if request.path not in BY_MACHINES or status >= 400:
            write = log.info
        elif log.is_enabled_for(logging.DEBUG):  # to look at the request takes longer than to answer it
            write = log.debug
        else:
            return
        write("request", status=status, **_about(request, time))


def log_abandoned(request: web.BaseRequest, seconds: float) -> None:
    """Log a request whose client disconnected after this many seconds: aiohttp does not log such requests."""
    log.info("request_abandoned", **_about(request, seconds))


def _about(request: web.BaseRequest, seconds: float) -> Mapping[str, Any]:
    principal, trace = request.get(PRINCIPAL), request.get(TRACE)
    about = request.get(ABOUT, {} if trace is None else {"trace_id": trace.trace_id})
    fields = {"method": request.method, "path": request.path[:PATH_MAX], "ms": round(seconds * 1000, 1), **about}
    if REQUEST_ID in request:
        fields["request_id"] = request[REQUEST_ID]
    if principal is not None and principal.name:
        fields["caller"] = principal.name
    if PROBLEM in request:
        fields["problem"] = request[PROBLEM]
    if (remote := remote_of(request)) is not None:
        fields["remote"] = remote
    return fields
