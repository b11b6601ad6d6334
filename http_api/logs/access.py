"""The log's line about each request that was answered."""

from __future__ import annotations

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from http_api.keys import ABOUT, CALLER, PROBLEM, REQUEST_ID, TRACE

BY_MACHINES = frozenset({"/health", "/livez", "/readyz", "/metrics", "/livekit/webhook"})
"""Asked all the time; of interest only when it fails."""


class AccessLog(AbstractAccessLogger):
    """One event for each answered request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """`time`: seconds it took."""
        log = structlog.get_logger("http_api.access")
        write = log.debug if request.path in BY_MACHINES and response.status < 400 else log.info
        caller, trace = request.get(CALLER), request.get(TRACE)
        about = request.get(ABOUT, {} if trace is None else {"trace_id": trace.trace_id})
        fields = {
            **about,
            "request_id": request.get(REQUEST_ID),
            "caller": caller.name or None if caller else None,
            "problem": request.get(PROBLEM),
            "remote": request.remote,
        }
        write(
            "request",
            method=request.method,
            path=request.path,
            status=response.status,
            ms=round(time * 1000, 1),
            **{name: value for name, value in fields.items() if value is not None},
        )
