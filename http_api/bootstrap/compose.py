"""Makes the components of a process, and connects them."""

from __future__ import annotations

from http_api.bootstrap.components import Components, ComponentTypes, Foundation, Instruments
from http_api.bootstrap.one_process import one_process
from http_api.bootstrap.parts import address_policy_of, agent_of, inviter_of, registry_of, rooms_of
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing, tracing_of
from http_api.settings.settings import Settings
from manager_agent.clock import SteadyClock
from manager_agent.control.ended_records import EndedRecords
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
    foundation = one_process(settings, instruments, types, records)
    return _built_on(foundation, settings, sinks or LogSinks(), instruments, types)


def _built_on(
    foundation: Foundation, settings: Settings, sinks: LogSinks, instruments: Instruments, types: ComponentTypes
) -> Components:
    clock, store, acting = instruments.clock, foundation.store, foundation.acting
    identities, missed_rooms = Identities(settings.livekit_api_secret.get_secret_value()), MissedRooms()
    invite_addresses = address_policy_of(settings, settings.invite_networks, "INVITE_NETWORKS")
    callback_addresses = address_policy_of(settings, settings.callback_networks, "CALLBACK_NETWORKS")
    registry, profiles = registry_of(settings, foundation, instruments, invite_addresses)
    rooms = rooms_of(settings, foundation, instruments, types.rooms)
    inviter = inviter_of(settings, rooms, identities, instruments, invite_addresses, types.inviter)
    standstill = Standstill(clock)
    orchestrator = Orchestrator(
        store=store, rooms=rooms, inviter=inviter, registry=registry, identities=identities,
        missed_rooms=missed_rooms, recording=foundation.recording, records=foundation.records, acting=acting,
        standstill=standstill, clock=clock,
    )  # fmt: skip
    ended_records = EndedRecords(foundation.records, store, orchestrator)
    store.listen(ended_records.tell)
    recovery = Recovery(
        records=foundation.records, store=store, rooms=rooms, orchestrator=orchestrator, identities=identities,
        acting=acting, clock=clock,
    )  # fmt: skip
    return Components(
        settings=settings,
        sinks=sinks,
        clock=clock,
        metrics=instruments.metrics,
        tracing=instruments.tracing,
        invite_addresses=invite_addresses,
        callback_addresses=callback_addresses,
        records=foundation.records,
        store=store,
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
        ended_records=ended_records,
        recovery=recovery,
        agent=agent_of(settings, foundation, rooms, identities, instruments, types),
        reconciler=types.reconciler(
            store=store, rooms=rooms, missed_rooms=missed_rooms, recovery=recovery, acting=acting, clock=clock
        ),
        room_names=foundation.room_names,
    )
