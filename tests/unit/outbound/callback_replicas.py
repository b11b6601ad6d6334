"""Callbacks of several replicas on one real Redis, which really post."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from manager_agent.frozen import replace
from manager_agent.outbound.address_policy import LOOPBACK, AddressPolicy
from manager_agent.outbound.callback_events import CallbackOutbox
from manager_agent.outbound.deliveries import Delivery, DeliveryState
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.outbound.http_client import GuardedHttpClient
from manager_agent.outbound.shared_callbacks import SharedCallbacks
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.session.events import Event
from manager_agent.session.session import Session, User
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import RoomNameTaken
from tests.redis_server import RedisServer
from tests.unit import sessions as given
from tests.unit.redis_replicas import RedisReplica
from tests.unit.sessions import START
from tests.unit.waits import never, once_redis_answers, until

OWNERS_FIRST = 60.0
"""Seconds: also on a busy machine the owners are first."""


@dataclass
class Leases:
    """Of all replicas, as the test says."""

    leader: str = ""
    dead: frozenset[str] = frozenset()

    def lapse(self, replica_id: str, *, leader: str) -> None:
        self.dead |= {replica_id}
        self.leader = leader


@dataclass
class LeaseOf:
    """What one replica knows of them."""

    replica_id: str
    leases: Leases

    @property
    def may_act(self) -> bool:
        return self.replica_id not in self.leases.dead

    @property
    def is_leader(self) -> bool:
        return self.may_act and self.leases.leader == self.replica_id

    def is_alive(self, replica_id: str) -> bool:
        return replica_id not in self.leases.dead

    async def until_acting(self) -> None:
        if not self.may_act:
            await never()


class CallbackReplica:
    """One replica, as far as its callbacks go."""

    def __init__(self, server: RedisServer, replica_id: str, leases: Leases) -> None:
        self.parts = RedisReplica.of(server, replica_id, time.time)
        self.replica_id, self.changelog = replica_id, self.parts.changelog
        self.deliveries = SharedDeliveries(self.parts.records)
        outbox = CallbackOutbox(self.deliveries, lambda session: {"session_id": session.session_id}, time.time)
        self.store = RedisStore(self.parts.connection, self.changelog, time.time, replica_id, owners_first=OWNERS_FIRST)
        self.store.record_with(outbox)
        lease = LeaseOf(replica_id, leases)
        self.callbacks = SharedCallbacks(
            deliveries=self.deliveries,
            tries=DeliveryTries(
                GuardedHttpClient(AddressPolicy(LOOPBACK, 1, lambda _: True)),
                lambda owner: (owner, "f" * 64),
                clock=time.time,
                livekit_clock=time.time,
            ),
            store=self.store,
            acting=lease,
            replicas=lease,
            clock=time.time,
        )
        self.store.listen(self.callbacks.tell)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.parts.running():
            await self.callbacks.start()
            try:
                yield
            finally:
                await self.callbacks.aclose()
                await self.store.aclose()

    async def open(self, url: str, *events: Event, session_id: str = "ses_1", owner: str = "shop") -> None:
        session = Session(session_id, f"room-{session_id}", User("alice"), START, (given.JOINS,), owner=owner)
        try:
            await once_redis_answers(lambda: self.store.add(replace(session, callback_url=url)))
        except RoomNameTaken:  # it was added, and its answer came too late
            self.store.get(session_id)
        await self.update(*events, session_id=session_id)

    async def update(self, *events: Event, session_id: str = "ses_1") -> None:
        await self.caught_up()
        for event in events:
            await once_redis_answers(partial(self.store.update, session_id, event))

    async def take(self, session_id: str = "ses_1", *, owner: str = "") -> None:
        """Make this replica, or another one, the owner."""
        await self.caught_up()
        before, after = self.store.ownership(session_id), owner or self.replica_id
        await once_redis_answers(lambda: self.store.take(session_id, expected=before, owner=after))
        assert self.store.ownership(session_id).owner == after

    async def caught_up(self) -> None:
        await once_redis_answers(self.changelog.caught_up)

    async def committed(self) -> None:
        """Return once all records of this replica are written."""
        await once_redis_answers(self.parts.records.committed)

    @asynccontextmanager
    async def behind(self) -> AsyncIterator[None]:
        """Read no changes meanwhile."""
        async with self.changelog._looking:
            yield

    @property
    def delivered(self) -> int:
        return self.callbacks.finished[DeliveryState.DELIVERED]

    def outcomes(self) -> list[tuple[str, str]]:
        """Event and state of each delivery, oldest first."""
        return [(delivery.event, delivery.state) for delivery in self.log()]

    def log(self) -> list[Delivery]:
        """Oldest first."""
        return self.callbacks.delivery_log.latest(lambda _: True)[::-1]

    async def all_finished(self) -> None:
        """Return once this replica knows of no event that is pending."""
        await self.caught_up()
        await until(lambda: self.deliveries.sessions, lambda sessions: not sessions)


class CallbackReplicas:
    """Several of them: a context manager. The first one is the leader."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.leases = server, Leases()
        self._stack = AsyncExitStack()
        self._running: dict[str, AsyncExitStack] = {}

    async def __aenter__(self) -> CallbackReplicas:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, *replica_ids: str) -> Sequence[CallbackReplica]:
        return [await self.start_one(replica_id) for replica_id in replica_ids]

    async def start_one(self, replica_id: str) -> CallbackReplica:
        self.leases.leader = self.leases.leader or replica_id
        replica = CallbackReplica(self.server, replica_id, self.leases)
        self._running[replica_id] = stack = await self._stack.enter_async_context(AsyncExitStack())
        await stack.enter_async_context(replica.running())
        return replica

    async def kill(self, replica: CallbackReplica, *, leader: str) -> None:
        """Nothing that it would still have written or posted is."""
        self.leases.lapse(replica.replica_id, leader=leader)
        for tasks in (replica.callbacks._checking, replica.callbacks._lines._tasks, replica.parts.records._tasks):
            await tasks.aclose()
        replica.parts.records._pending.take()
        await self._running[replica.replica_id].aclose()
