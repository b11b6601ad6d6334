"""Measures every request, whatever becomes of it."""

from __future__ import annotations

from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.manager_parts import REGISTRY
from http_api.observability.metrics.labels import OTHER
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.metrics.requests import ABORTED
from http_api.request_context import PROBLEM, UNMET
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import UnknownService
from manager_agent.session.required_service import Requirement


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
        request.app[METRICS].requests.answered(asked, status, request.get(PROBLEM), seconds)
        for unmet in request.get(UNMET, ()):
            service_type = _type_of(unmet.requirement, request.app[REGISTRY])
            request.app[METRICS].sessions.refused(service_type, unmet.reason)


def _type_of(requirement: Requirement, registry: Registry) -> str:
    """Of one that is required by its id: what it is registered as, if it is."""
    if requirement.service_id is None:
        return requirement.type or OTHER
    try:
        return registry.get(requirement.service_id).type
    except UnknownService:
        return OTHER
