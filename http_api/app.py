"""The application: its parts, their lifetimes, its routes. The one place where everything is put together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from aiohttp import web

from http_api import keys, log_context
from http_api.admission import admission
from http_api.authentication import Authenticator
from http_api.callbacks import callbacks_of
from http_api.capacity import Capacity
from http_api.cors import CrossOrigin
from http_api.dependencies import Dependencies, Dependency, livekit
from http_api.docs import described
from http_api.feed_readers import FeedReaders
from http_api.idempotency import idempotency
from http_api.kept_answers import KeptAnswers
from http_api.limits import Rate, RateLimits
from http_api.metrics.loop_lag import LoopLag
from http_api.metrics.metrics import Metrics
from http_api.metrics.middleware import measured
from http_api.metrics.wiring import wire
from http_api.operations import Operation
from http_api.problems import REQUEST_ID_HEADER, Handler, new_request_id, problems
from http_api.rate_limits import show_allowance
from http_api.recent_logs import RecentLogs
from http_api.routes import OPERATIONS
from http_api.schemas import Profiles
from http_api.services_file import ServicesFile, read_services_file
from http_api.settings import BadSettings, Settings
from http_api.tracing import Tracing, Untraced, tracing_of
from http_api.tracing.requests import traces
from http_api.waiting import Waiters
from manager_agent import ffi
from manager_agent.addresses import Guard
from manager_agent.agent import ManagerAgent
from manager_agent.chronicle import chronicle
from manager_agent.clock import Clock, steady_clock
from manager_agent.conductor import Conductor
from manager_agent.courier import is_this_machine
from manager_agent.invites import Inviter
from manager_agent.names import Names
from manager_agent.probe import Probe
from manager_agent.reconcile import Reconciler
from manager_agent.registry import Registry
from manager_agent.rooms import Rooms
from manager_agent.store import MemoryStore
from manager_agent.tasks import Tasks
from manager_agent.upkeep import Keeper, Reaper

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application runs on."""

    clock: Clock
    store: MemoryStore
    registry: Registry
    rooms: Rooms
    inviter: Inviter
    conductor: Conductor
    agent: ManagerAgent
    guard: Guard
    profiles: Profiles = field(default_factory=dict)
    upkeep: Sequence[Keeper | Reaper | Reconciler] = ()
    dependencies: Sequence[Dependency] = ()
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Untraced)


def compose(settings: Settings) -> Parts:
    """The real parts, none of them started. Raises BadSettings."""
    clock = steady_clock()
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    url, agent_name = settings.livekit_server_url, settings.agent_name
    invite_key, invite_secret = settings.invite_keys
    metrics = Metrics()
    store, names = MemoryStore(clock, metrics.store_updates.observe), Names(secret)
    rooms = Rooms(
        url=url,
        public_url=settings.public_url,
        api_key=key,
        api_secret=secret,
        agent_name=agent_name,
        deployment=settings.deployment,
        user_grants=settings.user_grants,
    )
    guard = guard_of(settings)
    registry, profiles = registry_of(settings, store, guard, clock)
    tracing = tracing_of(settings)
    inviter = Inviter(
        rooms=rooms,
        names=names,
        clock=clock,
        api_key=invite_key,
        api_secret=invite_secret,
        guard=guard,
        trace_of=tracing.of_attempt,
    )
    conductor = Conductor(store=store, rooms=rooms, inviter=inviter, registry=registry, names=names, clock=clock)
    agent = ManagerAgent(
        url=url, api_key=key, api_secret=secret, agent_name=agent_name, store=store, names=names, clock=clock
    )
    reconciler = Reconciler(store=store, rooms=rooms, clock=clock)
    return Parts(
        clock, store, registry, rooms, inviter, conductor, agent, guard, profiles,
        upkeep=[*upkeep_of(settings, registry), reconciler],
        dependencies=[livekit(lambda: agent.registered, lambda: reconciler.is_answered)],
        metrics=metrics,
        tracing=tracing,
    )  # fmt: skip


def registry_of(settings: Settings, store: MemoryStore, guard: Guard, clock: Clock) -> tuple[Registry, Profiles]:
    """The registry with the static services in it, and the profiles. Raises BadSettings."""
    registry, path = Registry(clock, store.in_use), settings.services_file
    file = ServicesFile() if path is None else read_services_file(path, clock(), guard)
    if settings.default_profile not in (None, *file.profiles):
        raise BadSettings("DEFAULT_PROFILE: there is no such profile in the SERVICES_FILE")
    for service in file.services:
        registry.register(service)
    return registry, file.profiles


def upkeep_of(settings: Settings, registry: Registry) -> Sequence[Keeper | Reaper]:
    """What the registry needs in the background."""
    keepers = [] if settings.state_dir is None else [Keeper(registry, settings.state_dir)]
    return [*keepers, Reaper(registry)]


def guard_of(settings: Settings) -> Guard:
    """Judges the addresses that callers of this server may have it call."""
    return Guard(networks=settings.invite_networks, own_port=settings.server_port, is_own=is_this_machine)


def create_app(
    settings: Settings, parts: Parts | None = None, recent_logs: RecentLogs | None = None
) -> web.Application:
    """The application, not started. Tests give it parts of their own. `recent_logs`: the one that logging fills."""
    ffi.quiet()
    parts = parts or compose(settings)
    cross_origin = CrossOrigin(settings.cors_origins)
    app = web.Application(
        middlewares=[measured, request_ids, traces, cross_origin.preflight, problems, admission, idempotency]
    )
    app[keys.SETTINGS] = settings
    app[keys.CLOCK] = parts.clock
    app[keys.STORE] = parts.store
    app[keys.REGISTRY] = parts.registry
    app[keys.PROFILES] = parts.profiles
    app[keys.ROOMS] = parts.rooms
    app[keys.CONDUCTOR] = parts.conductor
    app[keys.AGENT] = parts.agent
    app[keys.GUARD] = parts.guard
    app[keys.PROBE] = Probe(conductor=parts.conductor, store=parts.store, rooms=parts.rooms, clock=parts.clock)
    app[keys.TASKS] = Tasks()
    app[keys.STOPPING] = asyncio.Event()
    app[keys.WAITERS] = Waiters(settings.waiters_max)
    app[keys.CAPACITY] = Capacity(
        parts.store.census,
        per_caller=settings.sessions_per_caller,
        in_all=settings.sessions_max,
        in_making=settings.creates_in_flight,
    )
    app[keys.RATE_LIMITS] = RateLimits.of(Rate(settings.rate_limit, settings.rate_limit_burst), parts.clock)
    app[keys.KEPT_ANSWERS] = KeptAnswers(parts.clock)
    app[keys.METRICS] = parts.metrics
    app[keys.AUTHENTICATOR] = authenticator = Authenticator(settings, parts.clock)
    app[keys.CALLBACKS] = callbacks = callbacks_of(settings, parts.guard, parts.clock, authenticator.signing_keys)
    app[keys.RECENT_LOGS] = recent_logs = recent_logs or RecentLogs()
    parts.store.listen(recent_logs.follow)  # before the first line about a new session is logged
    parts.store.listen(chronicle)
    parts.store.listen(callbacks.tell)
    app[keys.DEPENDENCIES] = dependencies = Dependencies(parts.dependencies, parts.clock)
    app[keys.FEED] = feed = FeedReaders(parts.store, parts.registry, dependencies, parts.clock)
    parts.store.listen(feed.tell)
    dependencies.listen(feed.tell_health)
    app[keys.TRACING] = parts.tracing
    parts.store.listen(parts.tracing.tell)
    app[keys.OPERATIONS] = {operation.handler: operation for operation in OPERATIONS}
    app[keys.DOCUMENT] = described(OPERATIONS)
    wire(app)
    app.router.add_routes([_route(operation) for operation in OPERATIONS])
    app.cleanup_ctx.append(lambda app: _running(app, parts, authenticator))
    app.on_response_prepare.append(_show_request_id)
    app.on_response_prepare.append(show_allowance)
    app.on_response_prepare.append(cross_origin.allow)
    app.on_shutdown.append(_end_sessions)
    return app


def _route(operation: Operation) -> web.RouteDef:
    """A GET answers HEAD as well."""
    if operation.method == "GET":
        return web.get(operation.path, operation.handler)
    return web.route(operation.method, operation.path, operation.handler)


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives each request an id, its caller's own if that is fit to be shown, for logs and problems."""
    theirs = request.headers.get(REQUEST_ID_HEADER, "")
    log_context.begin(request, theirs if REQUEST_ID.fullmatch(theirs) else new_request_id())
    return await handler(request)


async def _show_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Just before the headers are sent: a stream's are long gone when its handler returns."""
    if keys.REQUEST_ID in request:
        response.headers[REQUEST_ID_HEADER] = request[keys.REQUEST_ID]


async def _running(app: web.Application, parts: Parts, authenticator: Authenticator) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        callbacks, dependencies = app[keys.CALLBACKS], app[keys.DEPENDENCIES]
        watching = (LoopLag(parts.metrics.loop_lag.observe), parts.tracing, dependencies)
        for part in (*watching, authenticator, *parts.upkeep, callbacks, parts.rooms, parts.inviter, parts.agent):
            stack.push_async_callback(part.aclose)
            await part.start()
        stack.push_async_callback(app[keys.FEED].aclose)
        stack.push_async_callback(parts.conductor.aclose)
        stack.push_async_callback(app[keys.TASKS].aclose)
        yield


async def _end_sessions(app: web.Application) -> None:
    """Before the requests under way are waited for: those who wait for a session get their answer now."""
    app[keys.STOPPING].set()
    await app[keys.CONDUCTOR].aclose()
    app[keys.FEED].end()
