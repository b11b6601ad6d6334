"""The application: its routes, its middlewares, and the lifetimes of what it runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from aiohttp import web

from http_api.access.authentication import AUTHENTICATOR
from http_api.admission import admit
from http_api.app_keys import CALLBACKS, ORCHESTRATOR, STOPPING, TASKS
from http_api.app_state import provide
from http_api.bootstrap import Components, registry_tasks
from http_api.limits.idempotency import idempotency
from http_api.limits.rate_limits import show_allowance
from http_api.observability.metrics.loop_lag import LoopLag
from http_api.observability.middleware import observe, show_request_id
from http_api.observability.upstreams import UPSTREAMS
from http_api.operations import OPERATIONS_BY_HANDLER, Operation
from http_api.problems.problems import problems
from http_api.protocol.bodies import expect
from http_api.protocol.cors import CrossOrigin
from http_api.routes import OPERATIONS
from http_api.settings.settings import BadSettings
from http_api.streams.subscribers import FEED
from http_api.web.docs import DOCUMENT, document_file
from manager_agent.livekit import ffi
from manager_agent.records.records import NewerRecords


def create_app(components: Components) -> web.Application:
    """The application, not started. Raises BadSettings."""
    ffi.disable_log_capture()
    ffi.tell_panics_apart()
    cross_origin = CrossOrigin(components.settings.cors_origins)
    app = web.Application(middlewares=[observe, cross_origin.preflight, problems, admit, idempotency])
    provide(app, components)
    app[OPERATIONS_BY_HANDLER] = {operation.handler: operation for operation in OPERATIONS}
    app[DOCUMENT] = document_file(OPERATIONS)
    app.router.add_routes([_route(operation) for operation in OPERATIONS])
    app.cleanup_ctx.append(lambda app: _running(app, components))
    app.on_response_prepare.extend([show_request_id, show_allowance, cross_origin.allow])
    app.on_shutdown.append(_end_sessions)
    return app


def _route(operation: Operation) -> web.RouteDef:
    """A GET answers HEAD as well."""
    if operation.method == "GET":
        return web.get(operation.path, operation.handler, expect_handler=expect)
    return web.route(operation.method, operation.path, operation.handler, expect_handler=expect)


async def _running(app: web.Application, components: Components) -> AsyncIterator[None]:
    """Start the parts in this order, and close them in the reverse order."""
    registry, records = components.registry, components.records
    async with AsyncExitStack() as stack:
        stack.push_async_callback(components.tracing.aclose, components.sinks.exit_budget)
        await components.tracing.start()
        monitors = (LoopLag(components.metrics.loop_lag.observe), app[UPSTREAMS])
        background = (app[AUTHENTICATOR], *registry_tasks(registry, records), components.reconciler, app[CALLBACKS])
        for part in (
            records,
            components.room_names,
            *monitors,
            *background,
            components.rooms,
            components.inviter,
            components.ended_records,
            components.recovery,
            components.agent,
        ):
            stack.push_async_callback(part.aclose)
            try:
                await part.start()
            except NewerRecords as newer:
                raise BadSettings(str(newer)) from None
        stack.push_async_callback(app[FEED].aclose)
        stack.push_async_callback(components.orchestrator.aclose)
        stack.push_async_callback(app[TASKS].aclose)
        yield


async def _end_sessions(app: web.Application) -> None:
    """Runs before aiohttp waits for running requests: those that wait for a session are answered now."""
    app[STOPPING].set()
    await app[ORCHESTRATOR].aclose()
    app[FEED].end()
