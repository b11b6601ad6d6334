"""The composition root: the only place where the objects of a process are created and connected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from http_api.access.authentication import AUTHENTICATOR, Authenticator
from http_api.app_keys import (
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
from http_api.limits.gcra import Rate, RateLimits
from http_api.limits.idempotency import IDEMPOTENCY_STORE
from http_api.limits.idempotency_store import IdempotencyStore
from http_api.limits.quotas import Quotas
from http_api.limits.rate_limits import RATE_LIMITS
from http_api.limits.waiters import WAITERS, Waiters
from http_api.models.required_services import PROFILES, Profiles
from http_api.models.responses import SessionView
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.metrics.metrics import METRICS, Metrics
from http_api.observability.metrics.wiring import wire
from http_api.observability.shipping.log_shipper import SHIPPER
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import TRACING, Tracing, tracing_of
from http_api.observability.upstreams import UPSTREAMS, Upstreams, livekit
from http_api.resources.session_requests import SESSION_REQUESTS, SessionRequests
from http_api.settings.services_file import ServicesFile, read_services_file
from http_api.settings.settings import SETTINGS, BadSettings, Settings
from http_api.streams.subscribers import FEED, FeedReaders
from manager_agent.clock import Clock, steady_clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.probe import Probe
from manager_agent.control.reconcile import Reconciler
from manager_agent.control.session_log import log_changes
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy, AddressRefused
from manager_agent.outbound.callbacks import Callbacks, SigningKeys
from manager_agent.outbound.http_client import GuardedHttpClient, is_this_machine
from manager_agent.outbound.invites import Inviter
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import SnapshotWriter
from manager_agent.registry.registry import Registry
from manager_agent.session.identities import Identities
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store
from manager_agent.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Components:
    """The manager agent, and its metrics and traces."""

    settings: Settings
    sinks: LogSinks
    clock: Clock
    metrics: Metrics
    tracing: Tracing
    address_policy: AddressPolicy
    store: Store
    registry: Registry
    profiles: Profiles
    rooms: Rooms
    inviter: Inviter
    orchestrator: Orchestrator
    agent: ManagerAgent
    reconciler: Reconciler


def compose(
    settings: Settings,
    sinks: LogSinks | None = None,
    *,
    rooms: type[Rooms] = Rooms,
    inviter: type[Inviter] = Inviter,
    agent: type[ManagerAgent] = ManagerAgent,
    reconciler: type[Reconciler] = Reconciler,
    tracing: Tracing | None = None,
) -> Components:
    """The components, none of them started. `sinks`: those that logging fills. Tests pass classes of their own. Raises
    BadSettings."""
    clock, metrics, tracing = steady_clock(), Metrics(), tracing or tracing_of(settings)
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    invite_key, invite_secret = settings.invite_keys
    identities, address_policy = Identities(secret), address_policy_of(settings)
    store = MemoryStore(clock, metrics.store_updates.observe)
    registry, profiles = registry_of(settings, store, address_policy, clock)
    livekit_rooms = rooms(
        url=settings.livekit_server_url,
        public_url=settings.public_url,
        api_key=key,
        api_secret=secret,
        agent_name=settings.agent_name,
        deployment=settings.deployment,
        user_grants=settings.user_grants,
    )
    invites = inviter(
        rooms=livekit_rooms,
        identities=identities,
        clock=clock,
        api_key=invite_key,
        api_secret=invite_secret,
        address_policy=address_policy,
        trace_of=tracing.of_attempt,
    )
    return Components(
        settings, sinks or LogSinks(), clock, metrics, tracing, address_policy, store, registry, profiles,
        rooms=livekit_rooms,
        inviter=invites,
        orchestrator=Orchestrator(
            store=store, rooms=livekit_rooms, inviter=invites, registry=registry, identities=identities, clock=clock
        ),
        agent=agent(
            url=settings.livekit_server_url,
            api_key=key,
            api_secret=secret,
            agent_name=settings.agent_name,
            store=store,
            identities=identities,
            clock=clock,
        ),
        reconciler=reconciler(store=store, rooms=livekit_rooms, clock=clock),
    )  # fmt: skip


def provide(app: web.Application, components: Components) -> None:
    """Store everything that handlers use in the application, under its key. Raises BadSettings."""
    settings, sinks, clock, store = components.settings, components.sinks, components.clock, components.store
    registry, orchestrator, rooms = components.registry, components.orchestrator, components.rooms
    app[SETTINGS], app[CLOCK], app[STORE], app[REGISTRY] = settings, clock, store, registry
    app[PROFILES], app[ADDRESS_POLICY] = components.profiles, components.address_policy
    app[ROOMS], app[ORCHESTRATOR], app[AGENT] = rooms, orchestrator, components.agent
    app[METRICS], app[TRACING] = components.metrics, components.tracing
    app[RECENT_LOGS], app[SHIPPER] = sinks.recent, sinks.shipper
    app[PROBE] = Probe(orchestrator=orchestrator, store=store, rooms=rooms, clock=clock)
    app[TASKS], app[STOPPING] = tasks, stopping = Tasks(), asyncio.Event()
    app[AUTHENTICATOR] = authenticator = authenticator_of(settings, clock)
    app[CALLBACKS] = callbacks = callbacks_of(
        settings, components.address_policy, clock, signing_keys=authenticator.signing_keys
    )
    upstream = livekit(lambda: components.agent.registered, lambda: components.reconciler.is_answered)
    app[UPSTREAMS] = upstreams = Upstreams([upstream], clock)
    app[FEED] = feed = FeedReaders(store, registry, upstreams, clock)
    app[RATE_LIMITS] = RateLimits.of(Rate(settings.rate_limit, settings.rate_limit_burst), clock)
    app[IDEMPOTENCY_STORE] = IdempotencyStore(clock)
    app[WAITERS] = waiters = Waiters(settings.waiters_max)
    app[SESSION_REQUESTS] = SessionRequests(
        store=store,
        registry=registry,
        orchestrator=orchestrator,
        quotas=Quotas(
            store.counts,
            per_caller=settings.sessions_per_caller,
            in_all=settings.sessions_max,
            in_making=settings.creates_in_flight,
        ),
        waiters=waiters,
        tasks=tasks,
        stopping=stopping,
        clock=clock,
        limits=settings.limits(),
        callback_urls={name: url.get_secret_value() for name, url in settings.callback_urls.items()},
    )
    upstreams.listen(feed.tell_health)
    store.listen(sinks.recent.follow)  # before the first line about a new session is logged
    for listener in (log_changes, callbacks.tell, feed.tell, components.tracing.tell):
        store.listen(listener)
    wire(components.metrics, store, registry, components.profiles, components.agent, callbacks, waiters, sinks.shipper)


def authenticator_of(settings: Settings, clock: Clock) -> Authenticator:
    """The Authenticator, not started."""
    return Authenticator(
        is_open=settings.is_open,
        api_keys=settings.api_keys,
        livekit_key=(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()),
        jwks_url=settings.jwks_url,
        jwks_audience=settings.jwks_audience,
        jwks_issuer=settings.jwks_issuer,
        clock=clock,
    )


def callbacks_of(
    settings: Settings, address_policy: AddressPolicy, clock: Clock, *, signing_keys: SigningKeys
) -> Callbacks:
    """The Callbacks, not started. Raises BadSettings when the address policy refuses one of the CALLBACK_URLS."""
    for number, url in enumerate(settings.callback_urls.values(), start=1):
        try:
            address_policy.admit(url.get_secret_value())
        except AddressRefused as refused:
            raise BadSettings(f"CALLBACK_URLS: entry {number}: {refused}") from None
    return Callbacks(
        http_client=GuardedHttpClient(address_policy),
        clock=clock,
        view=lambda session: SessionView.of(session).model_dump(mode="json"),
        signing_keys=signing_keys,
    )


def registry_of(
    settings: Settings, store: Store, address_policy: AddressPolicy, clock: Clock
) -> tuple[Registry, Profiles]:
    """The registry with the static services in it, and the profiles. Raises BadSettings."""
    registry, path = Registry(clock, store.in_use), settings.services_file
    file = ServicesFile() if path is None else read_services_file(path, clock(), address_policy)
    if settings.default_profile not in (None, *file.profiles):
        raise BadSettings("DEFAULT_PROFILE: there is no such profile in the SERVICES_FILE")
    for service in file.services:
        registry.register(service)
    return registry, file.profiles


def registry_tasks(settings: Settings, registry: Registry) -> Sequence[SnapshotWriter | LeaseSweeper]:
    """The background tasks of the registry."""
    writers = [] if settings.state_dir is None else [SnapshotWriter(registry, settings.state_dir)]
    return [*writers, LeaseSweeper(registry)]


def address_policy_of(settings: Settings) -> AddressPolicy:
    """The policy for the addresses that callers may have this server call."""
    return AddressPolicy(networks=settings.invite_networks, own_port=settings.server_port, is_own=is_this_machine)
