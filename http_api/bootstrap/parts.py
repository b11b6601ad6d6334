"""The parts that need many settings, each made by one function."""

from __future__ import annotations

from http_api.bootstrap.components import ComponentTypes, Foundation, Instruments
from http_api.models.required_services import Profiles
from http_api.settings.complaint import BadSettings
from http_api.settings.settings import Settings
from manager_agent.clock import Clock
from manager_agent.control.ended_records import EndedRecords
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy, Networks
from manager_agent.outbound.http_client import is_this_machine
from manager_agent.outbound.invites import Inviter
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import UnknownService
from manager_agent.session.identities import Identities


def registry_of(
    settings: Settings, foundation: Foundation, instruments: Instruments, address_policy: AddressPolicy
) -> tuple[Registry, Profiles]:
    """The registry with the static services in it, and the profiles. Raises BadSettings."""
    clock = instruments.clock
    profiles: Profiles = {}
    registry = _empty_registry(foundation, clock)
    if (path := settings.services_file) is not None:
        from http_api.settings.services_file import read_services_file  # which loads YAML

        file = read_services_file(path, clock(), address_policy)
        profiles = file.profiles
        for service in file.services:
            registry.register(service)
    if settings.default_profile not in (None, *profiles):
        raise BadSettings("DEFAULT_PROFILE: there is no such profile in the SERVICES_FILE")
    return registry, profiles


def _empty_registry(foundation: Foundation, clock: Clock) -> Registry:
    acting, shared = foundation.acting, foundation.shared
    if shared is None:
        return Registry(clock, foundation.store.counts, may_reap=lambda: acting.may_act)
    connection, membership = shared.connection, shared.membership
    registry = Registry(
        clock,
        foundation.store.counts,
        may_reap=lambda: membership.is_leader,
        hears_all=lambda: not connection.is_away,
    )

    def capacity_of(service_id: str) -> int | None:
        try:
            return registry.get(service_id).capacity
        except UnknownService:
            return None

    shared.limits.capacity_of = capacity_of
    return registry


def ended_records_of(foundation: Foundation, orchestrator: Orchestrator) -> EndedRecords | None:
    """What keeps ended sessions in the records; None if the store keeps them."""
    if foundation.shared is not None:
        return None
    ended_records = EndedRecords(foundation.records, foundation.store, orchestrator)
    foundation.store.listen(ended_records.tell)
    return ended_records


def rooms_of(settings: Settings, foundation: Foundation, instruments: Instruments, kind: type[Rooms]) -> Rooms:
    """The calls to LiveKit, not started."""
    return kind(
        url=settings.livekit_server_url,
        services_url=settings.services_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        agent_name=settings.agent_name,
        deployment=settings.deployment,
        user_grants=settings.user_grants,
        room_names=foundation.room_names,
        acting=foundation.acting,
        clock=instruments.clock,
        livekit_clock=instruments.livekit_clock,
        acts=foundation.room_acts(),
    )


def inviter_of(
    settings: Settings,
    rooms: Rooms,
    identities: Identities,
    instruments: Instruments,
    address_policy: AddressPolicy,
    kind: type[Inviter],
) -> Inviter:
    """What invites services, not started."""
    key, secret = settings.invite_keys
    return kind(
        rooms=rooms,
        identities=identities,
        clock=instruments.clock,
        api_key=key,
        api_secret=secret,
        address_policy=address_policy,
        trace_of=instruments.tracing.of_attempt,
    )


def agent_of(
    settings: Settings,
    foundation: Foundation,
    rooms: Rooms,
    identities: Identities,
    instruments: Instruments,
    types: ComponentTypes,
) -> ManagerAgent:
    """The manager agent, not started."""
    return types.agent(
        url=settings.livekit_server_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        agent_name=foundation.acting.worker_name(settings.agent_name),
        store=foundation.background_store,
        identities=identities,
        recording=foundation.recording,
        rooms=rooms,
        acting=foundation.acting,
        clock=instruments.clock,
        livekit_clock=instruments.livekit_clock,
        acting_store=foundation.acting_store,
    )


def address_policy_of(settings: Settings, networks: Networks, setting: str) -> AddressPolicy:
    """The policy for addresses that callers may have this server call, in the networks of this setting."""
    return AddressPolicy(networks, own_port=settings.server_port, is_own=is_this_machine, setting=setting)
