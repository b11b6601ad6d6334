"""The application: its routes, what happens to a request, and the lifetimes of what it runs on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from http_api.access.authentication import AUTHENTICATOR
from http_api.acting import close_unless_acting, refuse_unless_acting
from http_api.admission import admit, count_refused
from http_api.app_keys import CALLBACKS, ORCHESTRATOR, TASKS
from http_api.app_state import provide
from http_api.bootstrap import Components, ReplicaParts, SharedFoundation
from http_api.catch_up import catch_up
from http_api.errors import Unauthorized
from http_api.limits.answer_records import AnswerRecords
from http_api.limits.idempotency import IDEMPOTENCY_STORE, execute_once, is_executed_once
from http_api.limits.rate_limits import show_allowance
from http_api.observability.metrics.loop_lag import LoopLag
from http_api.observability.middleware import ObservedRequest, show_request_id
from http_api.observability.upstreams import UPSTREAMS
from http_api.operations import Operation
from http_api.problems.problems import answer_unless_cut_off
from http_api.protocol.bodies import expect
from http_api.protocol.cors import CrossOrigin
from http_api.replica import DRAIN, replica_status
from http_api.routes import OPERATIONS
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import SETTINGS
from http_api.shared_state import TO_CLOSE, Closed
from http_api.stopping import STOPPING, close_connection
from http_api.streams.followers import FOLLOWERS
from http_api.streams.heartbeats import HEARTBEATS
from http_api.streams.subscribers import FEED
from http_api.web.docs import DOCUMENT, document_file
from manager_agent.livekit import ffi
from manager_agent.livekit.tokens import InvalidToken
from manager_agent.records.records import NewerRecords
from manager_agent.redis.connection import RedisAway
from manager_agent.store.store import UnknownSession

REQUESTS_TIMEOUT = 10.0
"""Seconds for requests under way when the process is asked to stop; none after a panic of the native library."""
REQUESTS_TIMEOUT_MIN = 2.0
"""Seconds for them in any case: to hand sessions over before takes a part of that time."""
DRAIN_TIMEOUT = 10.0
"""Seconds to hand the sessions over to other replicas."""
ANSWER_TIMEOUT = 1.0
"""Seconds to answer those that still wait for a session then."""
CLOSE_TIMEOUT = 1.5
"""Seconds to delete the rooms of sessions that end because their clients could not be told of them."""


def create_app(components: Components) -> web.Application:
    """The application, not started. Raises BadSettings."""
    ffi.disable_log_capture()
    ffi.tell_panics_apart()
    cross_origin = CrossOrigin(components.settings.allowed_origins)
    app = web.Application(middlewares=[_serving(cross_origin)])
    provide(app, components)
    app[DOCUMENT] = document_file(OPERATIONS)
    app.router.add_routes([_route(operation) for operation in OPERATIONS])
    app.cleanup_ctx.append(lambda app: _running(app, components))
    app.on_response_prepare.append(_completing(cross_origin))
    return app


def _serving(cross_origin: CrossOrigin) -> Middleware:
    """The middleware with everything that happens to a request. One for all: of each, aiohttp makes a coroutine around
    the next, and each would look up the operation again."""
    operations = {operation.handler: operation for operation in OPERATIONS}

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = operations.get(request.match_info.handler)  # None: unknown path or method
        with ObservedRequest(request, operation) as observed:
            answer: web.StreamResponse | None = cross_origin.preflight(request)
            away: RedisAway | None = None
            try:
                if answer is None:
                    away = await _let_in(request, operation)
                    if operation is not None and is_executed_once(request, operation):
                        answer = await execute_once(request, operation, handler)
                    else:
                        answer = await handler(request)
            except Exception as error:
                answer = answer_unless_cut_off(request, await _to_tell(request, operation, error, away))
            observed.status = answer.status
            return answer

    return serve


async def _let_in(request: web.Request, operation: Operation | None) -> RedisAway | None:
    """Carry out the steps before the handler. Raises what they raise, and returns what catch_up returns."""
    await admit(request, operation)
    if operation is None:
        return None
    away = await catch_up(request, operation)
    await refuse_unless_acting(request, operation)
    return away


async def _to_tell(
    request: web.Request, operation: Operation | None, error: Exception, away: RedisAway | None
) -> Exception:
    """The error of which the client is told, for one of a step or of the handler."""
    if operation is not None and isinstance(error, InvalidToken | Unauthorized):
        try:
            await count_refused(request, operation)
        except Exception as refusal:  # too many
            return refusal
    if away is not None and isinstance(error, UnknownSession):
        return away  # the session may be new
    return error


def _completing(cross_origin: CrossOrigin) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The signal handler that completes the headers of every response, including streams and problems. One for all:
    aiohttp awaits each."""

    async def complete(request: web.Request, response: web.StreamResponse) -> None:
        show_request_id(request, response)
        show_allowance(request, response)
        cross_origin.allow(request, response)
        close_connection(request, response)
        close_unless_acting(request, response)

    return complete


def _route(operation: Operation) -> web.RouteDef:
    """A GET answers HEAD as well."""
    if operation.method == "GET":
        return web.get(operation.path, operation.handler, expect_handler=expect)
    return web.route(operation.method, operation.path, operation.handler, expect_handler=expect)


async def _running(app: web.Application, components: Components) -> AsyncIterator[None]:
    """Start the parts in this order, and close them in the reverse order."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(components.tracing.aclose, components.sinks.exit_budget)
        await components.tracing.start()
        components.acting.when_superseded(lambda: step_down(app, components))
        await _start_parts(stack, app, components)
        stack.push_async_callback(app[FEED].aclose)
        stack.push_async_callback(app[FOLLOWERS].aclose)
        stack.push_async_callback(app[HEARTBEATS].aclose)
        stack.push_async_callback(components.orchestrator.aclose)
        stack.push_async_callback(_let_go, components)
        await components.agent.start()
        for acting in (components.reconciler, components.recovery, app[TASKS]):
            stack.push_async_callback(acting.aclose)
        if components.replica is not None:
            await _join(stack, components.replica)
        await components.acting.start(await components.records.last_writer())  # last: no older process acts again then
        yield


async def _start_parts(stack: AsyncExitStack, app: web.Application, components: Components) -> None:
    """Start what restores, keeps and observes, and waits to act."""
    monitors = (LoopLag(components.metrics.loop_lag.observe), app[UPSTREAMS])
    secret = components.settings.livekit_api_secret.get_secret_value()
    answers = AnswerRecords(app[IDEMPOTENCY_STORE], components.records, secret)
    kept = (components.room_names, components.registrations, answers, app[CALLBACKS])
    ended = components.ended_records
    components.recovery.restore_first(*kept, *(() if ended is None else (ended,)))
    if components.replica is not None:
        _close_after(stack, app, components.replica.shared)
    stack.push_async_callback(components.acting.aclose)  # the next process acts from then on
    for part in (
        components.records,
        components.room_names,
        *monitors,
        components.standstill,
        app[AUTHENTICATOR],
        answers,
        components.registrations,
        components.leases,
        components.reconciler,
        app[CALLBACKS],
        components.rooms,
        components.inviter,
        components.recovery,
    ):
        stack.push_async_callback(part.aclose)
        try:
            await part.start()
        except NewerRecords as newer:
            raise BadSettings(str(newer)) from None


def _close_after(stack: AsyncExitStack, app: web.Application, shared: SharedFoundation) -> None:
    """Close the connection to Redis after all that needs it."""
    parts: tuple[Closed, ...] = (shared.connection, shared.store, shared.changelog, *app[TO_CLOSE])
    for part in parts:
        stack.push_async_callback(part.aclose)


async def _join(stack: AsyncExitStack, replica: ReplicaParts) -> None:
    """Begin to be one of the replicas, as soon as Redis is there: it need not be yet."""
    await replica.shared.changelog.start()
    for part in (replica.write_probe, replica.heartbeats, replica.owner, replica.take_over, replica.spreading):
        stack.push_async_callback(part.aclose)
        await part.start()


def step_down(app: web.Application, components: Components) -> None:
    """Another process has taken over. Change nothing any more, leave the rooms, and answer from what is known here."""
    components.store.freeze()
    components.recording.freeze()
    components.records.freeze()
    components.orchestrator.step_down()
    app[FOLLOWERS].end()
    app[FEED].end()
    for part in (components.reconciler, components.recovery, components.leases, app[CALLBACKS], components.agent):
        app[TASKS].spawn(part.aclose(), name="step down", for_all=True)


async def _let_go(components: Components) -> None:
    """Stop acting for the sessions. Managers leave before the last records are written: they acknowledge signals."""
    await asyncio.gather(components.orchestrator.pause(), components.agent.aclose())


async def finish_requests(app: web.Application) -> None:
    """Answer every request that is under way, while the application still listens. Takes bounded time."""
    stopping, has_time = app[STOPPING], not ffi.has_panicked()
    stopping.begin()
    begun = time.monotonic()
    if has_time:
        await _leave_sessions(app)
    stopping.polls.reach()
    app[FOLLOWERS].end()
    app[FEED].end()
    left = REQUESTS_TIMEOUT - (time.monotonic() - begun)
    await stopping.requests_done(max(left, REQUESTS_TIMEOUT_MIN) if has_time else 0.0)
    stopping.waits.reach()
    await stopping.requests_done(ANSWER_TIMEOUT)
    await app[TASKS].aclose(CLOSE_TIMEOUT)


async def _leave_sessions(app: web.Application) -> None:
    """Hand the sessions over to other replicas, or end them if that is wanted."""
    status = replica_status(app)
    if (drain := app[DRAIN]) is not None and status is not None:
        if status.why_away is not None:
            return  # the others take them over once Redis is back
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT):  # also if Redis does not answer
                await drain.finish(DRAIN_TIMEOUT - 1)
    elif app[SETTINGS].stop_ends_sessions:
        await app[ORCHESTRATOR].close_all()
