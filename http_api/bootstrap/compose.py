"""Makes the components of a process, and connects them."""

from __future__ import annotations

from http_api.bootstrap.components import Components, ComponentTypes, Foundation, Instruments
from http_api.bootstrap.one_process import one_process
from http_api.bootstrap.parts import (
    address_policy_of,
    agent_of,
    ended_records_of,
    inviter_of,
    registry_of,
    rooms_of,
)
from http_api.bootstrap.replica import replica, replica_parts
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing, tracing_of
from http_api.settings.settings import Settings
from manager_agent.clock import SteadyClock
from manager_agent.control.manager_turns import ManagerTurns
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.recovery import Recovery
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.records.records import Records
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.session.identities import Identities

ORIGINALS = ComponentTypes()


def compose(
    settings: Settings,
    sinks: LogSinks | None = None,
    *,
    types: ComponentTypes = ORIGINALS,
    tracing: Tracing | None = None,
    records: Records | None = None,
) -> Components:
    """The components, none of them started. `sinks`: those that logging fills. Tests pass `types` of their own. Raises
    BadSettings."""
    clock = SteadyClock()
    instruments = Instruments(clock, LiveKitClock(clock), Metrics(), tracing or tracing_of(settings))
    if (url := settings.shared_redis) is None:
        foundation = one_process(settings, instruments, types, records)
    else:
        foundation = replica(settings, instruments, url)
    return _built_on(foundation, settings, sinks or LogSinks(), instruments, types)


def _built_on(
    foundation: Foundation, settings: Settings, sinks: LogSinks, instruments: Instruments, types: ComponentTypes
) -> Components:
    clock, acting, shared = instruments.clock, foundation.acting, foundation.shared
    identities, missed_rooms = Identities(settings.livekit_api_secret.get_secret_value()), MissedRooms()
    invite_addresses = address_policy_of(settings, settings.invite_networks, "INVITE_NETWORKS")
    registry, profiles = registry_of(settings, foundation, instruments, invite_addresses)
    rooms = rooms_of(settings, foundation, instruments, types.rooms)
    inviter = inviter_of(settings, rooms, identities, instruments, invite_addresses, types.inviter)
    background, standstill = foundation.background_store, Standstill(clock)
    turns = ManagerTurns(background, clock)
    agent = agent_of(settings, foundation, rooms, identities, instruments, types)
    orchestrator = Orchestrator(
        store=foundation.store, rooms=rooms, inviter=inviter, registry=registry, identities=identities,
        missed_rooms=missed_rooms, recording=foundation.recording, records=foundation.records, acting=acting,
        standstill=standstill, clock=clock, acting_store=foundation.acting_store, take_job=agent.take_job,
        new_sessions=agent.new_sessions, joins=agent.joins,
    )  # fmt: skip
    recovery = Recovery(
        records=foundation.records, store=background, rooms=rooms, orchestrator=orchestrator, identities=identities,
        acting=acting, clock=clock, turns=turns, is_leader=foundation.is_leader, caught_up=foundation.caught_up,
    )  # fmt: skip
    reconciler = types.reconciler(
        store=background, rooms=rooms, missed_rooms=missed_rooms, recovery=recovery, acting=acting, clock=clock,
        is_leader=foundation.may_reconcile, caught_up=foundation.caught_up,
    )  # fmt: skip
    if shared is not None:
        shared.membership.when_leading(reconciler.begin_now)  # the former leader may have left something undone
        shared.membership.take_when(lambda: agent.registered)
    return Components(
        settings, sinks, clock, instruments.metrics, instruments.tracing,
        invite_addresses=invite_addresses,
        callback_addresses=address_policy_of(settings, settings.callback_networks, "CALLBACK_NETWORKS"),
        records=foundation.records,
        store=foundation.store,
        registry=registry,
        registrations=RegistrationKeeper(registry, foundation.records, clock),
        leases=LeaseSweeper(registry),
        profiles=profiles,
        acting=acting,
        rooms=rooms,
        inviter=inviter,
        recording=foundation.recording,
        standstill=standstill,
        orchestrator=orchestrator,
        ended_records=ended_records_of(foundation, orchestrator),
        recovery=recovery,
        agent=agent,
        reconciler=reconciler,
        room_names=foundation.room_names,
        replica=None if shared is None else replica_parts(shared, registry, orchestrator, turns, clock),
    )  # fmt: skip
