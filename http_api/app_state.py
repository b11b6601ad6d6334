"""Everything that handlers use, stored in the application under app keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from http_api.access.authentication import AUTHENTICATOR, Authenticator
from http_api.app_keys import (
    ACTING,
    AGENT,
    CALLBACK_ADDRESSES,
    CALLBACKS,
    CLOCK,
    INVITE_ADDRESSES,
    ORCHESTRATOR,
    PROBE,
    RECORDING,
    RECORDS,
    RECOVERY,
    REGISTRY,
    ROOMS,
    STORE,
    TASKS,
)
from http_api.bootstrap import Components, SharedFoundation
from http_api.limits.gcra import Rate
from http_api.limits.idempotency import IDEMPOTENCY_STORE
from http_api.limits.idempotency_store import IdempotencyStore
from http_api.limits.keyed_sessions import KEYED_SESSIONS, KeyedSessions
from http_api.limits.quotas import SERVICE_QUOTAS, Quotas, ServiceQuotas
from http_api.limits.waiters import WAITERS, Waiters
from http_api.models.rendered import RENDERED_SESSIONS, RenderedSessions
from http_api.models.required_services import PROFILES
from http_api.models.responses import SessionView
from http_api.observability.logs.recent import RECENT_LOGS
from http_api.observability.metrics.metrics import METRICS
from http_api.observability.metrics.wiring import wire
from http_api.observability.shipping.log_shipper import SHIPPER
from http_api.observability.tracing import TRACING
from http_api.observability.upstreams import UPSTREAMS, Upstreams, livekit, redis
from http_api.replica import REPLICA_STATUS, ReplicaStatus
from http_api.resources.repeated_requests import RepeatedRequests
from http_api.resources.session_requests import SESSION_REQUESTS, SessionRequests
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import SETTINGS, Settings
from http_api.shared_state import provide_shared
from http_api.stopping import STOPPING, Stopping
from http_api.streams.followers import FOLLOWERS, SessionFollowers
from http_api.streams.heartbeats import HEARTBEATS, Heartbeats
from http_api.streams.subscribers import FEED, FeedReaders
from manager_agent.clock import Clock
from manager_agent.control.probe import Probe
from manager_agent.control.session_log import log_changes
from manager_agent.outbound.address_policy import AddressRefused
from manager_agent.outbound.callback_events import CallbackOutbox
from manager_agent.outbound.callback_service import CallbackService
from manager_agent.outbound.callbacks import Callbacks
from manager_agent.outbound.delivery_tries import DeliveryTries, SigningKeys
from manager_agent.outbound.http_client import GuardedHttpClient
from manager_agent.outbound.shared_callbacks import SharedCallbacks
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.session.session import Session
from manager_agent.store.store import local
from manager_agent.tasks import Tasks


def provide(app: web.Application, components: Components) -> None:
    """Store everything that handlers use in the application, under its key. Raises BadSettings."""
    settings, sinks, clock, store = components.settings, components.sinks, components.clock, components.store
    registry, orchestrator, rooms = components.registry, components.orchestrator, components.rooms
    app[SETTINGS], app[CLOCK], app[STORE], app[REGISTRY] = settings, clock, store, registry
    app[PROFILES] = components.profiles
    app[INVITE_ADDRESSES], app[CALLBACK_ADDRESSES] = components.invite_addresses, components.callback_addresses
    app[ROOMS], app[ORCHESTRATOR], app[AGENT] = rooms, orchestrator, components.agent
    app[ACTING], app[RECORDS] = components.acting, components.records
    rate = Rate(settings.rate_limit, settings.rate_limit_burst)
    shared_requests = provide_shared(app, components, rate, clock)
    app[RECORDING], app[RECOVERY] = components.recording, components.recovery
    app[METRICS], app[TRACING] = components.metrics, components.tracing
    app[RECENT_LOGS], app[SHIPPER] = sinks.recent, sinks.shipper
    app[PROBE] = Probe(orchestrator=orchestrator, store=store, rooms=rooms, clock=clock)
    app[TASKS], app[STOPPING] = tasks, stopping = Tasks(), Stopping()
    app[AUTHENTICATOR] = authenticator = authenticator_of(settings, clock, rooms.livekit_clock)
    app[CALLBACKS] = callbacks = callbacks_of(components, signing_keys=authenticator.signing_keys)
    app[UPSTREAMS] = upstreams = upstreams_of(components, app[REPLICA_STATUS])
    app[RENDERED_SESSIONS] = rendered = RenderedSessions()
    app[FEED] = feed = FeedReaders(store, rendered, registry, upstreams, clock, app[REPLICA_STATUS])
    app[FOLLOWERS] = followers = SessionFollowers(store, rendered)
    app[HEARTBEATS] = Heartbeats()
    app[IDEMPOTENCY_STORE] = IdempotencyStore(clock)
    app[KEYED_SESSIONS] = keyed = KeyedSessions(store)
    app[SERVICE_QUOTAS] = ServiceQuotas(registry, per_caller=settings.services_per_caller, in_all=settings.services_max)
    app[WAITERS] = waiters = Waiters(settings.waiters_max)
    repeated = RepeatedRequests(store, orchestrator, tasks, stopping, shared_requests)
    app[SESSION_REQUESTS] = SessionRequests(
        store=store,
        registry=registry,
        orchestrator=orchestrator,
        rooms=components.rooms,
        acting=components.acting,
        quotas=Quotas(
            store.counts,
            components.room_names,
            per_caller=settings.sessions_per_caller,
            in_all=settings.sessions_max,
            in_making=settings.creates_in_flight,
            names_per_caller=settings.room_names_per_caller,
            names_in_all=settings.room_names_max,
        ),
        limits_of_all=None if components.replica is None else components.replica.shared.limits,
        waiters=waiters,
        repeated=repeated,
        stopping=stopping,
        rejection=lambda: rooms.rejection,
        clock=clock,
        limits=settings.limits(),
        token_join_timeout=settings.token_join_timeout,
        callback_urls={name: url.get_secret_value() for name, url in settings.callback_urls.items()},
    )
    upstreams.listen(feed.tell_health)
    store.listen(keyed.tell)
    store.listen(rendered.follow)
    store.listen(followers.tell)
    store.listen(sinks.recent.follow)  # before the first line about a new session is logged
    for listener in (local(log_changes), callbacks.tell, feed.tell, local(components.tracing.tell), repeated.tell):
        store.listen(listener)
    wire(
        components.metrics, store, registry, components.profiles, components.acting, components.agent,
        components.reconciler, callbacks, waiters, sinks.shipper, components.records, app[REPLICA_STATUS],
    )  # fmt: skip


def upstreams_of(components: Components, replica: Callable[[], ReplicaStatus] | None) -> Upstreams:
    """What this process depends on, not started."""
    agent, reconciler, rooms = components.agent, components.reconciler, components.rooms
    upstreams = [livekit(lambda: agent.registered, lambda: reconciler.is_answered, lambda: rooms.rejection)]
    if replica is None:
        return Upstreams(upstreams, components.clock)
    status = replica
    upstreams.append(redis(lambda: status().why_away, lambda: status().why_no_writes))
    return Upstreams(upstreams, components.clock, beside=lambda: (status().leader, status().replicas))


def authenticator_of(settings: Settings, clock: Clock, livekit_clock: Clock) -> Authenticator:
    """The Authenticator, not started."""
    return Authenticator(
        is_open=settings.is_open,
        api_keys=settings.api_keys,
        livekit_key=(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()),
        jwks_url=settings.jwks_url,
        jwks_audience=settings.jwks_audience,
        jwks_issuer=settings.jwks_issuer,
        authorized_parties=settings.jwks_authorized_parties,
        rooms_claim=settings.jwks_rooms_claim,
        clock=clock,
        livekit_clock=livekit_clock,
    )


def callbacks_of(components: Components, *, signing_keys: SigningKeys) -> CallbackService:
    """The callbacks, not started. Raises BadSettings when the address policy refuses one of the CALLBACK_URLS."""
    address_policy = components.callback_addresses
    for number, url in enumerate(components.settings.callback_urls.values(), start=1):
        try:
            address_policy.admit(url.get_secret_value())
        except AddressRefused as refused:
            raise BadSettings(f"CALLBACK_URLS: entry {number}: {refused}") from None
    clock, livekit_clock = components.clock, components.rooms.livekit_clock
    tries = DeliveryTries(GuardedHttpClient(address_policy), signing_keys, clock=clock, livekit_clock=livekit_clock)
    if components.replica is not None:
        return shared_callbacks_of(components, components.replica.shared, tries)
    return Callbacks(
        tries=tries,
        recording=components.recording,
        records=components.records,
        recovered=components.recovery.completed,
        clock=clock,
        view=view_of,
    )


def shared_callbacks_of(components: Components, shared: SharedFoundation, tries: DeliveryTries) -> SharedCallbacks:
    """Those of one of several replicas: each change of a session records its event."""
    deliveries = SharedDeliveries(components.records)
    shared.store.record_with(CallbackOutbox(deliveries, view_of, components.clock))
    return SharedCallbacks(
        deliveries=deliveries,
        tries=tries,
        store=shared.store,
        acting=components.acting,
        replicas=shared.membership,
        clock=components.clock,
    )


def view_of(session: Session) -> dict[str, Any]:
    """The session as its owner is told of it."""
    return SessionView.of(session).model_dump(mode="json")
