"""The log's line about a request that nobody waits for any more: there is no answer, so none from the access log."""

from __future__ import annotations

import asyncio
from time import perf_counter

import structlog
from aiohttp import web

from http_api import keys
from http_api.problems import Handler

log = structlog.get_logger()

PATH_MAX = 1_024
"""Characters of a path that are logged."""


@web.middleware
async def abandonments(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Behind whoever gives the request its id, and before all who may be cancelled."""
    started = perf_counter()
    try:
        return await handler(request)
    except asyncio.CancelledError:
        caller, trace = request.get(keys.CALLER), request.get(keys.TRACE)
        fields = {
            **request.get(keys.ABOUT, {}),
            "caller": caller.name or None if caller else None,
            "remote": request.remote,
            "trace_id": trace.trace_id if trace else None,
        }
        log.info(
            "request_abandoned",
            method=request.method,
            path=request.path[:PATH_MAX],
            ms=round((perf_counter() - started) * 1000, 1),
            **{name: value for name, value in fields.items() if value is not None},
        )
        raise
