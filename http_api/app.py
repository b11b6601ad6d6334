"""The application: its parts, their lifetimes, its routes. The one place where everything is put together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web
from aiohttp.typedefs import Handler

from http_api.access.authentication import AUTHENTICATOR
from http_api.admission import admission
from http_api.bootstrap import Parts, authenticator_of, compose
from http_api.limits.gcra import Rate, RateLimits
from http_api.limits.idempotency import IDEMPOTENCY_STORE, idempotency
from http_api.limits.idempotency_store import IdempotencyStore
from http_api.limits.quotas import CAPACITY, Capacity
from http_api.limits.rate_limits import RATE_LIMITS, show_allowance
from http_api.limits.waiters import WAITERS, Waiters
from http_api.manager_parts import (
    ADDRESS_POLICY,
    AGENT,
    CALLBACKS,
    CLOCK,
    ORCHESTRATOR,
    PROBE,
    REGISTRY,
    ROOMS,
    STOPPING,
    STORE,
    TASKS,
)
from http_api.models.requests import PROFILES
from http_api.observability.exit_budget import ExitBudget
from http_api.observability.logs.access import abandonments
from http_api.observability.logs.context import begin as begin_log
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.metrics.loop_lag import LoopLag
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.metrics.middleware import measured
from http_api.observability.metrics.wiring import wire
from http_api.observability.shipping.shipper import SHIPPER
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import TRACING
from http_api.observability.tracing.requests import traces
from http_api.observability.upstreams import UPSTREAMS, Upstreams
from http_api.operations import OPERATIONS_BY_HANDLER, Operation
from http_api.problems.problems import REQUEST_ID_HEADER, new_request_id, problems
from http_api.protocol.cors import CrossOrigin
from http_api.request_context import REQUEST_ID
from http_api.resources.callbacks import callbacks_of
from http_api.routes import OPERATIONS
from http_api.settings.settings import SETTINGS, Settings
from http_api.streams.subscribers import FEED, FeedReaders
from http_api.web.docs import DOCUMENT, described
from manager_agent.control.probe import Probe
from manager_agent.control.session_log import log_changes
from manager_agent.livekit import ffi
from manager_agent.tasks import Tasks

ACCEPTED_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(settings: Settings, parts: Parts | None = None, sinks: LogSinks | None = None) -> web.Application:
    """The application, not started. Tests give it parts of their own. `sinks`: those that logging fills."""
    ffi.disable_log_capture()
    parts, sinks = parts or compose(settings), sinks or LogSinks()
    cross_origin = CrossOrigin(settings.cors_origins)
    app = web.Application(
        middlewares=[
            measured,
            request_ids,
            abandonments,
            traces,
            cross_origin.preflight,
            problems,
            admission,
            idempotency,
        ]
    )
    app[SETTINGS] = settings
    _keep(app, parts, sinks)
    _bound(app, settings, parts)
    app[AUTHENTICATOR] = authenticator = authenticator_of(settings, parts.clock)
    app[CALLBACKS] = callbacks_of(settings, parts.address_policy, parts.clock, authenticator.signing_keys)
    app[UPSTREAMS] = upstreams = Upstreams(parts.upstreams, parts.clock)
    app[FEED] = feed = FeedReaders(parts.store, parts.registry, upstreams, parts.clock)
    upstreams.listen(feed.tell_health)
    app[OPERATIONS_BY_HANDLER] = {operation.handler: operation for operation in OPERATIONS}
    app[DOCUMENT] = described(OPERATIONS)
    _listen(app)
    wire(app)
    app.router.add_routes([_route(operation) for operation in OPERATIONS])
    app.cleanup_ctx.append(lambda app: _running(app, parts, sinks.exit_budget))
    app.on_response_prepare.append(_show_request_id)
    app.on_response_prepare.append(show_allowance)
    app.on_response_prepare.append(cross_origin.allow)
    app.on_shutdown.append(_end_sessions)
    return app


def _keep(app: web.Application, parts: Parts, sinks: LogSinks) -> None:
    """Where handlers find the parts."""
    app[CLOCK] = parts.clock
    app[STORE] = parts.store
    app[REGISTRY] = parts.registry
    app[PROFILES] = parts.profiles
    app[ROOMS] = parts.rooms
    app[ORCHESTRATOR] = parts.orchestrator
    app[AGENT] = parts.agent
    app[ADDRESS_POLICY] = parts.address_policy
    app[METRICS] = parts.metrics
    app[TRACING] = parts.tracing
    app[RECENT_LOGS] = sinks.recent
    app[SHIPPER] = sinks.shipper
    app[PROBE] = Probe(orchestrator=parts.orchestrator, store=parts.store, rooms=parts.rooms, clock=parts.clock)
    app[TASKS] = Tasks()
    app[STOPPING] = asyncio.Event()


def _bound(app: web.Application, settings: Settings, parts: Parts) -> None:
    """How much there may be of everything."""
    app[WAITERS] = Waiters(settings.waiters_max)
    app[CAPACITY] = Capacity(
        parts.store.counts,
        per_caller=settings.sessions_per_caller,
        in_all=settings.sessions_max,
        in_making=settings.creates_in_flight,
    )
    app[RATE_LIMITS] = RateLimits.of(Rate(settings.rate_limit, settings.rate_limit_burst), parts.clock)
    app[IDEMPOTENCY_STORE] = IdempotencyStore(parts.clock)


def _listen(app: web.Application) -> None:
    """Who is told of every change of a session, in this order."""
    store = app[STORE]
    store.listen(app[RECENT_LOGS].follow)  # before the first line about a new session is logged
    store.listen(log_changes)
    store.listen(app[CALLBACKS].tell)
    store.listen(app[FEED].tell)
    store.listen(app[TRACING].tell)


def _route(operation: Operation) -> web.RouteDef:
    """A GET answers HEAD as well."""
    if operation.method == "GET":
        return web.get(operation.path, operation.handler)
    return web.route(operation.method, operation.path, operation.handler)


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives each request an id, its caller's own if that is fit to be shown, for logs and problems."""
    theirs = request.headers.get(REQUEST_ID_HEADER, "")
    begin_log(request, theirs if ACCEPTED_REQUEST_ID.fullmatch(theirs) else new_request_id())
    return await handler(request)


async def _show_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Just before the headers are sent: a stream's are long gone when its handler returns."""
    if REQUEST_ID in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]


async def _running(app: web.Application, parts: Parts, exit_budget: ExitBudget) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.tracing.aclose, exit_budget)
        await parts.tracing.start()
        watching = (LoopLag(parts.metrics.loop_lag.observe), app[UPSTREAMS])
        telling = (app[AUTHENTICATOR], *parts.upkeep, app[CALLBACKS])
        for part in (*watching, *telling, parts.rooms, parts.inviter, parts.agent):
            stack.push_async_callback(part.aclose)
            await part.start()
        stack.push_async_callback(app[FEED].aclose)
        stack.push_async_callback(parts.orchestrator.aclose)
        stack.push_async_callback(app[TASKS].aclose)
        yield


async def _end_sessions(app: web.Application) -> None:
    """Before the requests under way are waited for: those who wait for a session get their answer now."""
    app[STOPPING].set()
    await app[ORCHESTRATOR].aclose()
    app[FEED].end()
