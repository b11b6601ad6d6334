"""What the application runs on: its parts, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from http_api.access.authentication import Authenticator
from http_api.models.requests import Profiles
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.tracing import Tracing, Untraced, tracing_of
from http_api.observability.upstreams import Upstream, livekit
from http_api.settings.services_file import ServicesFile, read_services_file
from http_api.settings.settings import BadSettings, Settings
from manager_agent.clock import Clock, steady_clock
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.reconcile import Reconciler
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.http_client import is_this_machine
from manager_agent.outbound.invites import Inviter
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import SnapshotWriter
from manager_agent.registry.registry import Registry
from manager_agent.session.identities import Identities
from manager_agent.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application runs on."""

    clock: Clock
    store: MemoryStore
    registry: Registry
    rooms: Rooms
    inviter: Inviter
    orchestrator: Orchestrator
    agent: ManagerAgent
    address_policy: AddressPolicy
    profiles: Profiles = field(default_factory=dict)
    upkeep: Sequence[SnapshotWriter | LeaseSweeper | Reconciler] = ()
    upstreams: Sequence[Upstream] = ()
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Untraced)


def compose(settings: Settings) -> Parts:
    """The real parts, none of them started. Raises BadSettings."""
    clock = steady_clock()
    key, secret = settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()
    url, agent_name = settings.livekit_server_url, settings.agent_name
    invite_key, invite_secret = settings.invite_keys
    metrics = Metrics()
    store, identities = MemoryStore(clock, metrics.store_updates.observe), Identities(secret)
    rooms = Rooms(
        url=url,
        public_url=settings.public_url,
        api_key=key,
        api_secret=secret,
        agent_name=agent_name,
        deployment=settings.deployment,
        user_grants=settings.user_grants,
    )
    address_policy = address_policy_of(settings)
    registry, profiles = registry_of(settings, store, address_policy, clock)
    tracing = tracing_of(settings)
    inviter = Inviter(
        rooms=rooms,
        identities=identities,
        clock=clock,
        api_key=invite_key,
        api_secret=invite_secret,
        address_policy=address_policy,
        trace_of=tracing.of_attempt,
    )
    orchestrator = Orchestrator(
        store=store, rooms=rooms, inviter=inviter, registry=registry, identities=identities, clock=clock
    )
    agent = ManagerAgent(
        url=url, api_key=key, api_secret=secret, agent_name=agent_name, store=store, identities=identities, clock=clock
    )
    reconciler = Reconciler(store=store, rooms=rooms, clock=clock)
    return Parts(
        clock, store, registry, rooms, inviter, orchestrator, agent, address_policy, profiles,
        upkeep=[*upkeep_of(settings, registry), reconciler],
        upstreams=[livekit(lambda: agent.registered, lambda: reconciler.is_answered)],
        metrics=metrics,
        tracing=tracing,
    )  # fmt: skip


def registry_of(
    settings: Settings, store: MemoryStore, address_policy: AddressPolicy, clock: Clock
) -> tuple[Registry, Profiles]:
    """The registry with the static services in it, and the profiles. Raises BadSettings."""
    registry, path = Registry(clock, store.in_use), settings.services_file
    file = ServicesFile() if path is None else read_services_file(path, clock(), address_policy)
    if settings.default_profile not in (None, *file.profiles):
        raise BadSettings("DEFAULT_PROFILE: there is no such profile in the SERVICES_FILE")
    for service in file.services:
        registry.register(service)
    return registry, file.profiles


def upkeep_of(settings: Settings, registry: Registry) -> Sequence[SnapshotWriter | LeaseSweeper]:
    """What the registry needs in the background."""
    keepers = [] if settings.state_dir is None else [SnapshotWriter(registry, settings.state_dir)]
    return [*keepers, LeaseSweeper(registry)]


def address_policy_of(settings: Settings) -> AddressPolicy:
    """Judges the addresses that callers of this server may have it call."""
    return AddressPolicy(networks=settings.invite_networks, own_port=settings.server_port, is_own=is_this_machine)


def authenticator_of(settings: Settings, clock: Clock) -> Authenticator:
    """What finds out who is asking, not started."""
    return Authenticator(
        is_open=settings.is_open,
        api_keys=settings.api_keys,
        livekit_key=(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value()),
        jwks_url=settings.jwks_url,
        jwks_audience=settings.jwks_audience,
        jwks_issuer=settings.jwks_issuer,
        clock=clock,
    )
