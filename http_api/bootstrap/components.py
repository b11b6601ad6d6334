"""What the composition root makes, and which classes it makes it of."""

from __future__ import annotations

from dataclasses import dataclass

from http_api.limits.counter_limits import CounterLimits
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
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.livekit.server_api import Rooms
from manager_agent.not_acting import NotActing
from manager_agent.outbound.address_policy import AddressPolicy
from manager_agent.outbound.invites import Inviter
from manager_agent.records.records import Records
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.write_probe import WriteProbe
from manager_agent.registry.lease_sweeper import LeaseSweeper
from manager_agent.registry.persistence import RegistrationKeeper
from manager_agent.registry.registry import Registry
from manager_agent.registry.shared_heartbeats import SharedHeartbeats
from manager_agent.replicas.drain import Drain
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.ownership import SessionOwner
from manager_agent.replicas.patient_store import PatientStore
from manager_agent.replicas.spreading import Spreading
from manager_agent.replicas.take_over import TakeOver
from manager_agent.store.recording import Recording
from manager_agent.store.redis import RedisStore
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
    shared: SharedFoundation | None = None
    """None: there are no other replicas."""

    @property
    def background_store(self) -> Store:
        """The store for what runs in the background: it waits while Redis is away."""
        return self.store if self.shared is None else PatientStore(self.shared.store)

    def acting_store(self, session_id: str) -> Store:
        """The store with which this process acts for one session. Raises UnknownSession, and NotActing if another
        replica acts for it."""
        return self.store if self.shared is None else PatientStore(self.shared.store.acting(session_id))

    def room_acts(self) -> RoomActs:
        """Refuses what another replica has to do to a room."""
        return RoomActs() if self.shared is None else self.shared.acts

    def is_leader(self) -> bool:
        """Whether this process does what only one of several replicas may do."""
        return self.shared is None or self.shared.membership.is_leader

    def may_reconcile(self) -> bool:
        return self.acting.may_act and self.is_leader()

    async def caught_up(self) -> None:
        """Return once everything is known here that was written before the call. Raises NotActing if Redis is away."""
        if self.shared is None:
            return
        try:
            await self.shared.changelog.caught_up()
        except RedisAway as away:
            raise NotActing(str(away)) from None


@dataclass(frozen=True, slots=True)
class SharedFoundation:
    """What a replica shares with the others, and how it is one of them."""

    connection: RedisConnection
    changelog: ChangeLog
    membership: Membership
    store: RedisStore
    limits: CounterLimits
    acts: RoomActs


@dataclass(frozen=True, slots=True)
class ReplicaParts:
    """What a process has beside the others because it is one of several replicas."""

    shared: SharedFoundation
    write_probe: WriteProbe
    heartbeats: SharedHeartbeats
    owner: SessionOwner
    take_over: TakeOver
    spreading: Spreading
    drain: Drain


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
    ended_records: EndedRecords | None
    """None: the store keeps ended sessions itself."""
    recovery: Recovery
    agent: ManagerAgent
    reconciler: Reconciler
    room_names: RoomNames
    replica: ReplicaParts | None = None
    """None: there are no other replicas."""
