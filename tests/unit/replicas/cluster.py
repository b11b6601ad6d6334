"""Several replicas in one process, on one Redis, with a LiveKit whose rooms have managers only. Leases are short.

Everything that a replica does to a room is noted with its fence, so that it can be checked that no two replicas ever
acted for a session at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from manager_agent.clock import SteadyClock
from manager_agent.control.manager_turns import ManagerTurns
from manager_agent.control.missed_rooms import MissedRooms
from manager_agent.control.orchestrator import Orchestrator
from manager_agent.control.standstill import Standstill
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.livekit.room_record import RecordedDispatches
from manager_agent.livekit.server_api import Listing
from manager_agent.not_acting import NotActing
from manager_agent.records.memory import MemoryRecords
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import Command, RedisAway, RedisConnection
from manager_agent.redis.url import read_redis_url
from manager_agent.registry.registry import Registry
from manager_agent.replicas.acting_replica import ActingReplica
from manager_agent.replicas.drain import Drain
from manager_agent.replicas.fences import Fences
from manager_agent.replicas.membership import Membership
from manager_agent.replicas.ownership import SessionOwner
from manager_agent.replicas.patient_store import PatientStore
from manager_agent.replicas.spreading import Spreading
from manager_agent.replicas.take_over import TakeOver
from manager_agent.session import events as ev
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.identities import Identities
from manager_agent.session.session import Limits, Session, User
from manager_agent.store.recording import Recording
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession
from manager_agent.tasks import Tasks
from tests.redis_server import RedisServer
from tests.unit.control.orchestrators import NoRooms
from tests.unit.waits import until

LEASE, INTERVAL = 2.0, 0.15
"""A lease is short, but longer than a busy machine lets a process wait."""
JOIN = 0.02
"""Seconds from a dispatch to the manager's join."""


class CutOffConnection(RedisConnection):
    """Can be cut off from Redis, as by a freeze of its process or a fault of the network: nothing is answered."""

    is_cut_off = False

    async def _carry_out(
        self, name: str, commands: Sequence[Command], blocks: float = 0.0, *, is_urgent: bool = False
    ) -> list[Any]:
        if self.is_cut_off:
            await asyncio.sleep(0.1)
            raise RedisAway("cut off")
        answers = await super()._carry_out(name, commands, blocks, is_urgent=is_urgent)
        if self.is_cut_off:
            raise RedisAway("cut off", is_uncertain=True)
        return answers


@dataclass(frozen=True)
class NotedAct:
    replica_id: str
    session_id: str
    act: str
    fence: int


class LiveKitStandIn:
    """What all replicas have in common."""

    def __init__(self) -> None:
        self.acts: list[NotedAct] = []
        self.managers: dict[str, dict[str, str]] = {}
        """Session id -> identity of a manager in the room -> its replica."""
        self.unmanaged_since: dict[str, float] = {}
        self.longest_gap: dict[str, float] = {}
        """Session id -> the most seconds without a manager since the first one joined."""

    def joined(self, session_id: str, identity: str, replica_id: str) -> None:
        self.managers.setdefault(session_id, {})[identity] = replica_id
        since = self.unmanaged_since.pop(session_id, None)
        if since is not None:
            gap = time.monotonic() - since
            self.longest_gap[session_id] = max(gap, self.longest_gap.get(session_id, 0.0))

    def left(self, session_id: str, identity: str) -> None:
        self.managers.get(session_id, {}).pop(identity, None)
        if not self.managers.get(session_id):
            self.unmanaged_since.setdefault(session_id, time.monotonic())

    def check_that_one_acted_at_a_time(self) -> None:
        """Each fence belongs to one replica, and once a greater one was used, no smaller one is."""
        owners: dict[tuple[str, int], str] = {}
        latest: dict[str, int] = {}
        for act in self.acts:
            assert owners.setdefault((act.session_id, act.fence), act.replica_id) == act.replica_id, act
            assert act.fence >= latest.get(act.session_id, 0), act
            latest[act.session_id] = act.fence


class ManagedRooms(NoRooms):
    """The rooms as one replica reaches them. Its managers join when they are dispatched, and leave as they have to."""

    def __init__(self, livekit: LiveKitStandIn, replica: TestReplica) -> None:
        self._livekit, self._replica = livekit, replica
        self.tasks, self.answering = Tasks(), asyncio.Event()
        self.answering.set()

    async def _act(self, act: str, session_id: str) -> None:
        try:
            await self._replica.acting.require()
            async with self._replica.acts.under_way(session_id):
                self._replica.acts.begin(act, session_id, "")
                fence = self._replica.fences.of(session_id)
                if fence is not None:
                    self._livekit.acts.append(NotedAct(self._replica.id, session_id, act, fence))
                await self.answering.wait()
        except NotActing as error:
            raise LiveKitUnavailable(str(error)) from error

    async def create(self, session: Session, *, patience: float = 0.0) -> str:
        await self._act("create_room", session.session_id)
        self._send_manager(session)
        return f"RM_{session.session_id}"

    async def dispatch_manager(self, session: Session, attempt: int) -> None:
        await self._act("create_dispatch", session.session_id)
        self._send_manager(session)

    async def show_status(self, session: Session) -> None:
        await self._act("update_room_metadata", session.session_id)

    async def record_specification(self, session: Session) -> None:
        await self._act("create_dispatch", session.session_id)

    async def remove(self, room_name: str, identity: str, sid: str, *, session_id: str = "") -> None:
        await self._act("remove_participant", session_id)
        self._livekit.left(session_id, identity)

    async def delete(self, room_name: str, *, sid: str, session_id: str) -> None:
        await self._act("delete_room", session_id)
        self._livekit.managers.pop(session_id, None)

    async def recorded_dispatches(self, room_name: str) -> RecordedDispatches:
        raise LiveKitUnavailable("not known here")

    async def list_participants(self, room_name: str) -> Listing:
        session = self._replica.store.in_room(room_name)
        here = self._livekit.managers.get(session.session_id, {}) if session else {}
        return Listing(tuple(ParticipantInfo(identity, f"PA_{identity}") for identity in here), ())

    def _send_manager(self, session: Session) -> None:
        self.tasks.spawn(self._manage(session.session_id, session.manager.identity or ""), name="manager")

    async def _manage(self, session_id: str, identity: str) -> None:
        """What livekit/agent.py and room_watcher.py do."""
        replica, livekit = self._replica, self._livekit
        await asyncio.sleep(JOIN)
        store = PatientStore(replica.store)
        with suppress(UnknownSession, NotActing):
            at = replica.clock()
            session = await replica.acting_store(session_id).update(session_id, ev.JobAccepted(at, identity))
            if session.manager.identity != identity or session.manager.accepted_at != at:
                return
            livekit.joined(session_id, identity, replica.id)
            seen = ev.ParticipantSeen(at, ParticipantInfo(identity, f"PA_{identity}"), seen_by=identity)
            await store.update(session_id, seen)
            await store.wait_for(session_id, lambda latest: _is_relieved(latest, identity))
        livekit.left(session_id, identity)
        with suppress(UnknownSession, NotActing):
            await store.update(session_id, ev.ParticipantLeft(replica.clock(), identity, f"PA_{identity}"))


def _is_relieved(session: Session, identity: str) -> bool:
    return session.is_cleaned_up or (session.manager.identity != identity and session.manager.presence.here)


class TestReplica:
    """One replica with everything that several replicas need, and no API."""

    __test__ = False

    def __init__(self, server: RedisServer, livekit: LiveKitStandIn) -> None:
        self.livekit, self.clock = livekit, SteadyClock()
        self.connection = CutOffConnection(read_redis_url(server.url), server.deployment)
        self.changes = ChangeLog(self.connection)
        self.membership = Membership(self.connection, self.changes, lease=LEASE, interval=INTERVAL)
        self.id = self.membership.id
        self.acting = ActingReplica(self.membership, server.deployment)
        self.store = RedisStore(self.connection, self.changes, self.clock, self.id)
        self.fences = Fences(self.store, self.membership)
        self.acts = RoomActs(self.fences.of, self.fences.known)
        background = PatientStore(self.store, pause=0.05)
        self.rooms = ManagedRooms(livekit, self)
        rooms: Any = self.rooms
        inviter: Any = None
        self.turns = ManagerTurns(background, self.clock)
        self.orchestrator = Orchestrator(
            store=self.store,
            rooms=rooms,
            inviter=inviter,
            registry=Registry(self.clock, self.store.counts),
            identities=Identities("secret"),
            missed_rooms=MissedRooms(),
            recording=Recording(self.store, is_awaited=False),
            records=MemoryRecords(self.clock),
            acting=self.acting,
            standstill=Standstill(self.clock),
            clock=self.clock,
            acting_store=self.acting_store,
        )
        self.owner = SessionOwner(self.store, self.orchestrator, self.turns, self.membership, self.clock)
        self.take_over = TakeOver(self.store, self.membership)
        self.spreading = Spreading(self.store, self.membership, self.acts, self.clock)
        self.drain = Drain(self.store, self.membership, self.spreading)
        self._parts = (self.changes, self.owner, self.take_over, self.spreading)

    def acting_store(self, session_id: str) -> PatientStore:
        return PatientStore(self.store.acting(session_id), pause=0.05)

    @property
    def owned(self) -> set[str]:
        return {session.session_id for session in self.store.owned()}

    @property
    def running(self) -> set[str]:
        """The sessions that have a control loop here."""
        return {one.session_id for one in self.store.list() if self.orchestrator.acts_for(one.session_id)}

    async def start(self) -> None:
        await self.connection.start()
        for part in self._parts:
            await part.start()
        await self.acting.start()
        await until(lambda: self.acting.may_act)

    async def open(self, number: int) -> Session:
        session = Session(
            f"ses_{number}", f"room-{number}", User("alice"), self.clock(), limits=Limits(ready_timeout=600.0)
        )
        return await self.orchestrator.open(session)

    async def stop(self) -> None:
        """In order: with a farewell, but without handing anything over."""
        await self._end()
        await self.acting.aclose()
        await self.connection.aclose()

    async def crash(self) -> None:
        """As by kill -9: nothing is said, and its managers are gone."""
        self.connection.is_cut_off = True
        await self._end()
        await self.membership._tasks.aclose()
        for session_id, managers in self.livekit.managers.items():
            for identity in [one for one, replica_id in managers.items() if replica_id == self.id]:
                self.livekit.left(session_id, identity)
        await self.connection.aclose()

    async def _end(self) -> None:
        await self.rooms.tasks.aclose()
        await self.turns.aclose()
        for part in reversed(self._parts):
            await part.aclose()
        self.orchestrator.step_down()
        await self.orchestrator.pause()


class Cluster:
    """An async context manager. `check` at its end: that never two replicas acted for a session."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.livekit = server, LiveKitStandIn()
        self.replicas: list[TestReplica] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(replica.stop() for replica in self.replicas))
        self.livekit.check_that_one_acted_at_a_time()

    async def add(self) -> TestReplica:
        replica = TestReplica(self.server, self.livekit)
        await replica.start()
        self.replicas.append(replica)
        return replica

    async def crash(self, replica: TestReplica) -> None:
        self.replicas.remove(replica)
        await replica.crash()

    async def stop(self, replica: TestReplica) -> None:
        self.replicas.remove(replica)
        await replica.stop()

    @property
    def settled(self) -> bool:
        """Whether every live session has exactly one owner that acts, and exactly that one's manager in its room."""
        every = {one.session_id: one for replica in self.replicas for one in replica.store.list() if not one.over}
        for session_id, session in every.items():
            owners = [one for one in self.replicas if one.store.owns(session_id)]
            running = [one for one in self.replicas if one.orchestrator.acts_for(session_id)]
            if len(owners) != 1 or running != owners or not session.manager.presence.here:
                return False
            if set(self.livekit.managers.get(session_id, {}).values()) != {owners[0].id}:
                return False
        return True

    async def until_settled(self) -> None:
        await until(lambda: self.settled)

    @property
    def shares(self) -> list[int]:
        return [sum(not session.over for session in replica.store.owned()) for replica in self.replicas]
