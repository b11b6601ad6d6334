"""What the composition root makes, and which classes it makes it of."""

from __future__ import annotations

from dataclasses import dataclass

from http_api.models.required_services import Profiles
from http_api.observability.metrics.metrics import Metrics
from http_api.observability.sinks import LogSinks
from http_api.observability.tracing import Tracing
from http_api.settings.settings import Settings
from manager_agent.acting_gate import ActingGate
from manager_agent.clock import Clock, SteadyClock
from manager_agent.control.ended_records import EndedRecords
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.reconcile import Reconciler
from manager_agent.control.recovery import Recovery
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.acting_process import ActingProcess
from manager_agent.livekit.agent import ManagerAgent
from manager_agent.livekit.livekit_clock import LiveKitClock
from manager_agent.livekit.server_api import Rooms
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.invites import Inviter
from manager_agent.records.records import Records
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.store.recording import Recording
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Store


@dataclass(frozen=True, slots=True)
class ComponentTypes:
    """The classes that tests replace by stand-ins."""

    acting: type[ActingProcess] = ActingProcess
    rooms: type[Rooms] = Rooms
    inviter: type[Inviter] = Inviter
    agent: type[ManagerAgent] = ManagerAgent
    reconciler: type[Reconciler] = Reconciler


@dataclass(frozen=True, slots=True)
class Instruments:
    """What everything else is measured with."""

    clock: SteadyClock
    livekit_clock: LiveKitClock
    metrics: Metrics
    tracing: Tracing


@dataclass(frozen=True, slots=True)
class Foundation:
    """Where the sessions are kept, and who acts: what differs between a single process and one of several replicas."""

    records: Records
    room_names: RoomNames
    store: Store
    acting: ActingGate
    recording: Recording


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
    acting: ActingGate
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
