"""One of several replicas of a deployment: sessions and records in Redis, which all of them share."""

from __future__ import annotations

import socket

from http_api import VERSION
from http_api.bootstrap.components import Foundation, Instruments, ReplicaParts, SharedFoundation
from http_api.limits.counter_limits import CounterLimits
from http_api.settings.settings import Settings
from manager_agent.clock import Clock
from manager_agent.control.manager_turns import ManagerTurns
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.records.redis import RedisRecords
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisConnection
from manager_agent.redis.url import RedisUrl
from manager_agent.redis.write_probe import WriteProbe
from manager_agent.registry.registry import Registry
from manager_agent.registry.shared_heartbeats import SharedHeartbeats
from manager_agent.replicas.acting_replica import ActingReplica
from manager_agent.replicas.drain import Drain
from manager_agent.replicas.fences import Fences
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.ownership import SessionOwner
from manager_agent.replicas.spreading import Spreading
from manager_agent.replicas.take_over import TakeOver
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.recording import Recording
from manager_agent.store.redis import RedisStore
from manager_agent.store.room_names import RoomNames


def replica(settings: Settings, instruments: Instruments, url: RedisUrl) -> Foundation:
    clock, livekit_clock = instruments.clock, instruments.livekit_clock
    connection = RedisConnection(url, settings.deployment, instruments.metrics.redis.observe)
    changelog = ChangeLog(connection)
    membership = Membership(connection, changelog, address=name_of(settings), version=VERSION)
    records = RedisRecords(connection, changelog, clock, membership.id)
    names = RoomNames(records, livekit_clock, clock=clock, expect_livekit_ahead=livekit_clock.expect_ahead)
    limits = CounterLimits(
        per_caller=settings.sessions_per_caller, in_all=settings.sessions_max, in_making=settings.creates_in_flight
    )
    store = RedisStore(
        connection, changelog, clock, membership.id,
        timing=instruments.metrics.store_updates.observe,
        names=names,
        ended=EndedSessions(per_caller=settings.sessions_kept_per_caller, in_all=settings.sessions_kept),
        limit_of=limits.of,
    )  # fmt: skip
    fences = Fences(store, membership)
    return Foundation(
        records=records,
        room_names=names,
        store=store,
        acting=ActingReplica(membership, settings.deployment),
        recording=Recording(store, is_awaited=False),
        shared=SharedFoundation(connection, changelog, membership, store, limits, RoomActs(fences.of, fences.known)),
    )


def name_of(settings: Settings) -> str:
    """What people know this replica by."""
    return settings.replica_name or f"{socket.gethostname()}:{settings.server_port}"


def replica_parts(
    shared: SharedFoundation, registry: Registry, orchestrator: Orchestrator, turns: ManagerTurns, clock: Clock
) -> ReplicaParts:
    """The parts of a replica that are built on all others, not started."""
    connection, membership, store = shared.connection, shared.membership, shared.store
    spreading = Spreading(store, membership, shared.acts, clock)
    return ReplicaParts(
        shared=shared,
        write_probe=WriteProbe(connection),
        heartbeats=SharedHeartbeats(registry, connection, shared.changelog, membership.id),
        owner=SessionOwner(store, orchestrator, turns, membership, clock),
        take_over=TakeOver(store, membership),
        spreading=spreading,
        drain=Drain(store, membership, spreading),
    )
