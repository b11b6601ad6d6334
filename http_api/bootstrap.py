"""The composition root: the only place where the objects of a process are created and connected."""

from __future__ import annotations

from dataclasses import dataclass

from http_api.models.required_services import Profiles
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing, tracing_of
from http_api.settings.services_file import ServicesFile, read_services_file
from http_api.settings.settings import BadSettings, Settings
from manager_agent.clock import Clock, SteadyClock
from manager_agent.control.ended_records import EndedRecords
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.reconcile import Reconciler
from manager_agent.control.recovery import Recovery
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.livekit.turn_register import TurnRegister
from manager_agent.outbound.address_policy import AddressPolicy, Networks
from manager_agent.outbound.http_client import is_this_machine
from manager_agent.outbound.invites import Inviter
from manager_agent.records.memory import MemoryRecords
from manager_agent.records.records import Records
from manager_agent.records.sqlite import SqliteRecords
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.session.identities import Identities
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.memory import MemoryStore
from manager_agent.store.recording import Recording
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Store


@dataclass(frozen=True, slots=True)
class Components:
    """The manager agent, and its metrics and traces."""

    settings: Settings
    sinks: LogSinks
    clock: Clock
    metrics: Metrics
    tracing: Tracing
    invite_addresses: AddressPolicy
    callback_addresses: AddressPolicy
    records: Records
    store: Store
    registry: Registry
    registrations: RegistrationKeeper
    leases: LeaseSweeper
    profiles: Profiles
    acting: ActingProcess
    rooms: Rooms
    inviter: Inviter
    recording: Recording
    standstill: Standstill
    orchestrator: Orchestrator
    ended_records: EndedRecords
    recovery: Recovery
    agent: ManagerAgent
    reconciler: Reconciler
    room_names: RoomNames


def compose(
    settings: Settings,
    sinks: LogSinks | None = None,
    *,
    acting: type[ActingProcess] = ActingProcess,
    rooms: type[Rooms] = Rooms,
    inviter: type[Inviter] = Inviter,
    agent: type[ManagerAgent] = ManagerAgent,
    reconciler: type[Reconciler] = Reconciler,
    tracing: Tracing | None = None,
    records: Records | None = None,
) -> Components:
    """The components, none of them started. `sinks`: those that logging fills. Tests pass classes of their own. Raises
    BadSettings."""
    clock, metrics, tracing = SteadyClock(), Metrics(), tracing or tracing_of(settings)
    livekit_clock = LiveKitClock(clock)
    invite_key, invite_secret = settings.invite_keys
    identities = Identities(settings.livekit_api_secret.get_secret_value())
    invite_addresses = address_policy_of(settings, settings.invite_networks, "INVITE_NETWORKS")
    callback_addresses = address_policy_of(settings, settings.callback_networks, "CALLBACK_NETWORKS")
    records = records or records_of(settings, clock)
    names = RoomNames(records, livekit_clock, clock=clock, expect_livekit_ahead=livekit_clock.expect_ahead)
    missed_rooms = MissedRooms()
    ended = EndedSessions(per_caller=settings.sessions_kept_per_caller, in_all=settings.sessions_kept)
    store = MemoryStore(clock, metrics.store_updates.observe, names, ended)
    acting_process = acting(register_of(settings, livekit_clock))
    registry, profiles = registry_of(settings, store, invite_addresses, acting_process, clock)
    registrations = RegistrationKeeper(registry, records)
    livekit_rooms = rooms_of(settings, rooms, names, acting_process, clock, livekit_clock)
    invites = inviter(
        rooms=livekit_rooms,
        identities=identities,
        clock=clock,
        api_key=invite_key,
        api_secret=invite_secret,
        address_policy=invite_addresses,
        trace_of=tracing.of_attempt,
    )
    recording, standstill = Recording(store), Standstill(clock)
    orchestrator = Orchestrator(
        store=store, rooms=livekit_rooms, inviter=invites, registry=registry, identities=identities,
        missed_rooms=missed_rooms, recording=recording, records=records, acting=acting_process,
        standstill=standstill, clock=clock,
    )  # fmt: skip
    ended_records = EndedRecords(records, store, orchestrator)
    store.listen(ended_records.tell)
    recovery = Recovery(
        records=records,
        store=store, rooms=livekit_rooms, orchestrator=orchestrator, identities=identities, acting=acting_process,
        clock=clock,
    )  # fmt: skip
    return Components(
        settings, sinks or LogSinks(), clock, metrics, tracing,
        invite_addresses, callback_addresses, records, store, registry, registrations, LeaseSweeper(registry), profiles,
        acting=acting_process,
        rooms=livekit_rooms,
        inviter=invites,
        recording=recording,
        standstill=standstill,
        orchestrator=orchestrator,
        ended_records=ended_records,
        recovery=recovery,
        agent=agent(
            url=settings.livekit_server_url,
            api_key=settings.livekit_api_key,
            api_secret=settings.livekit_api_secret.get_secret_value(),
            agent_name=acting_process.worker_name(settings.agent_name),
            store=store,
            identities=identities,
            recording=recording,
            rooms=livekit_rooms,
            acting=acting_process,
            clock=clock,
            livekit_clock=livekit_clock,
        ),
        reconciler=reconciler(
            store=store, rooms=livekit_rooms, missed_rooms=missed_rooms, recovery=recovery, acting=acting_process,
            clock=clock,
        ),
        room_names=names,
    )  # fmt: skip


def register_of(settings: Settings, livekit_clock: LiveKitClock) -> TurnRegister:
    """The register of the process that acts, not started."""
    return TurnRegister(
        url=settings.livekit_server_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        deployment=settings.deployment,
        livekit_clock=livekit_clock,
    )


def records_of(settings: Settings, clock: SteadyClock) -> Records:
    """The records, not started."""
    if settings.state_dir is None:
        return MemoryRecords(clock)
    return SqliteRecords(settings.state_dir, clock, clock.origin)


def rooms_of(
    settings: Settings,
    kind: type[Rooms],
    room_names: RoomNames,
    acting: ActingProcess,
    clock: SteadyClock,
    livekit_clock: LiveKitClock,
) -> Rooms:
    """The calls to LiveKit, not started. `kind`: Rooms, or what tests have instead."""
    return kind(
        url=settings.livekit_server_url,
        services_url=settings.services_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret.get_secret_value(),
        agent_name=settings.agent_name,
        deployment=settings.deployment,
        user_grants=settings.user_grants,
        room_names=room_names,
        acting=acting,
        clock=clock,
        livekit_clock=livekit_clock,
    )


def registry_of(
    settings: Settings, store: Store, address_policy: AddressPolicy, acting: ActingProcess, clock: Clock
) -> tuple[Registry, Profiles]:
    """The registry with the static services in it, and the profiles. Raises BadSettings."""
    registry, path = Registry(clock, store.in_use, may_reap=lambda: acting.may_act), settings.services_file
    file = ServicesFile() if path is None else read_services_file(path, clock(), address_policy)
    if settings.default_profile not in (None, *file.profiles):
        raise BadSettings("DEFAULT_PROFILE: there is no such profile in the SERVICES_FILE")
    for service in file.services:
        registry.register(service)
    return registry, file.profiles


def address_policy_of(settings: Settings, networks: Networks, setting: str) -> AddressPolicy:
    """The policy for addresses that callers may have this server call, in the networks of this setting."""
    return AddressPolicy(networks, own_port=settings.server_port, is_own=is_this_machine, setting=setting)
