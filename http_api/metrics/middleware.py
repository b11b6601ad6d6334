"""Measures every request, whatever becomes of it."""

from __future__ import annotations

from time import perf_counter

from aiohttp import web

from http_api import keys
from http_api.metrics.requests import ABORTED
from http_api.problems import Handler


@web.middleware
async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Before all others, so that what they refuse is counted as well."""
    started, status = perf_counter(), ABORTED
    try:
        answer = await handler(request)
        status = str(answer.status)
        return answer
    finally:
        seconds, asked = perf_counter() - started, request.match_info.handler
        request.app[keys.METRICS].requests.answered(asked, status, request.get(keys.PROBLEM), seconds)
