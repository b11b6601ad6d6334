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
        write("request", status=status, **_about(request, time, has_problem=status >= 400))


def log_abandoned(request: web.BaseRequest, seconds: float) -> None:
    """Log a request whose client disconnected after this many seconds: aiohttp does not log such requests."""
    log.info("request_abandoned", **_about(request, seconds, has_problem=True))


def _about(request: web.BaseRequest, seconds: float, *, has_problem: bool) -> Mapping[str, Any]:
    """`has_problem`: it may have one. Asked for a key that a request does not have, aiohttp raises and catches an
    error: so that is asked for only if need be."""
    fields = {"method": request.method, "path": request.path[:PATH_MAX], "ms": round(seconds * 1000, 1)}
    if (about := request.get(ABOUT)) is not None:
        fields.update(about)
    elif (trace := request.get(TRACE)) is not None:
        fields["trace_id"] = trace.trace_id
    if (request_id := request.get(REQUEST_ID)) is not None:
        fields["request_id"] = request_id
    if (principal := request.get(PRINCIPAL)) is not None and principal.name:
        fields["caller"] = principal.name
    if has_problem and (problem := request.get(PROBLEM)) is not None:
        fields["problem"] = problem
    if (remote := remote_of(request)) is not None:
        fields["remote"] = remote
    return fields
