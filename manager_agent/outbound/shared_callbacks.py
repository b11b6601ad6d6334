"""Callbacks of a deployment with several replicas: exactly one of them delivers the events of a session, in order.

It is the owner of the session. When another replica becomes the owner, it goes on with what is pending, under the same
ids. One that is alive lets it know when its last try is over. Of a session that is removed with events pending, the
last owner delivers them; if that one is dead, or did not take them, the leader does.

A try that was under way when its replica died is repeated by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from manager_agent.clock import Clock
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, event_id
from manager_agent.outbound.delivery_queues import QUEUE_MAX
from manager_agent.outbound.delivery_records import RecordedDelivery
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import Change, UnknownSession
from manager_agent.store.stored_session import Ownership
from manager_agent.tasks import Tasks

log = structlog.get_logger()

STOP_TIMEOUT = 2.0
"""Seconds for tries under way when the process ends."""
CHECK_INTERVAL = 1.0
HELD_FOR = 8.0
"""Seconds for which a new owner waits for the former one's last try: longer than a try takes."""
ORPHANED_AFTER = 10.0
"""Seconds after which the leader delivers what no replica has taken of a session that is not known."""
LEFT_HERE_MAX = 10_000
"""Removed sessions of which this replica remembers that it owned them last."""


class ActingTurn(Protocol):
    @property
    def may_act(self) -> bool: ...

    async def until_acting(self) -> None:
        """Return when this replica may act. It may be never."""


class OtherReplicas(Protocol):
    @property
    def is_leader(self) -> bool:
        """Whether this replica does what only one may do."""

    def is_alive(self, replica_id: str) -> bool:
        """Whether this replica may still act; if not, others do what it did."""


@dataclass(slots=True, eq=False)
class _Line:
    """What delivers the events of one session."""

    task: asyncio.Task[None] | None = None
    is_trying: bool = False


@dataclass(slots=True, eq=False)
class _Hold:
    """The former owner may be trying to deliver an event."""

    event_id: str
    former: str
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class SharedCallbacks:
    """`delivery_log` has the outcome of each event of all replicas."""

    def __init__(
        self,
        *,
        deliveries: SharedDeliveries,
        tries: DeliveryTries,
        store: RedisStore,
        acting: ActingTurn,
        replicas: OtherReplicas,
        clock: Clock,
    ) -> None:
        self._deliveries, self._tries, self._store = deliveries, tries, store
        self._acting, self._replicas, self._clock = acting, replicas, clock
        self.finished: Mapping[DeliveryState, int] = tries.finished
        """Number of events that this replica has delivered and given up."""
        self._lines: dict[str, _Line] = {}
        self._holds: dict[str, _Hold] = {}
        self._left_here: dict[str, None] = {}
        """The removed sessions that this replica owned last."""
        self._unknown_since: dict[str, float] = {}
        self._is_stopping = False
        self._tasks, self._checking = Tasks(), Tasks()
        deliveries.listen(self)
        store.listen_to_owners(self._owner_changed)

    @property
    def delivery_log(self) -> DeliveryLog:
        return self._deliveries.delivery_log

    async def start(self) -> None:
        await self._tries.http_client.start()
        self._checking.spawn(self._check_always(), name="callbacks of all replicas", for_all=True)

    async def restore(self) -> None:
        """What is pending comes with the records."""

    async def aclose(self) -> None:
        """Begin no try. Leave what is not delivered after STOP_TIMEOUT to other replicas, or the next process."""
        self._is_stopping = True
        await self._checking.aclose()
        for session_id in list(self._lines):
            self._stop(session_id)
        await self._tasks.aclose(STOP_TIMEOUT)
        await self._tries.http_client.aclose()

    @property
    def pending(self) -> int:
        """Number of events that this replica is to deliver."""
        sessions = self._deliveries.sessions
        return sum(self._deliveries.count(session_id) for session_id in sessions if self.delivers(session_id))

    def tell(self, change: Change) -> None:
        """The event of a change comes with the records (CallbackOutbox), unless Redis loses it at this moment."""
        if change.after is not None and not change.is_remote and change.session.callback_url is not None:
            self._deliveries.expect(event_id(change.session))

    # --- who delivers -------------------------------------------------------------------------------

    def delivers(self, session_id: str) -> bool:
        return self._deliverer(session_id) == self._store.replica_id

    def _deliverer(self, session_id: str) -> str:
        """The replica that delivers the events of the session; empty: none does."""
        owner = self._owner(session_id)
        if owner is not None:
            return owner
        for kept in self._deliveries.pending(session_id):
            if kept.replica:
                return kept.replica
        return self._store.replica_id if session_id in self._left_here else ""

    def _owner(self, session_id: str) -> str | None:
        """None: the session is not known."""
        if (unreadable := self._store.unreadable.get(session_id)) is not None:
            return unreadable.stored.ownership.owner
        try:
            return self._store.ownership(session_id).owner
        except UnknownSession:
            return None

    def _owner_changed(self, session_id: str, before: Ownership | None, after: Ownership | None) -> None:
        own_id = self._store.replica_id
        was_own, is_own = (one is not None and one.owner == own_id for one in (before, after))
        if after is None and was_own:
            self._left_here[session_id] = None
            while len(self._left_here) > LEFT_HERE_MAX:
                del self._left_here[next(iter(self._left_here))]
            self._deliveries.assign(session_id, own_id)
        elif was_own and not is_own:
            self._lost(session_id)
        elif is_own and before is not None and not was_own:
            self._gained(session_id, before.owner)

    def _gained(self, session_id: str, former: str) -> None:
        pending = self._deliveries.pending(session_id)
        if not pending:
            return
        self._deliveries.begin_anew(session_id)
        if self._replicas.is_alive(former):
            self._holds[session_id] = _Hold(pending[0].delivery.id, former)
        self._begin(session_id)

    def _lost(self, session_id: str) -> None:
        """Stop, and let the new owner know that no try is under way. The outcome of one that is lets it know, too."""
        self._end_hold(session_id)
        if not self._stop(session_id):
            return
        for first in self._deliveries.pending(session_id)[:1]:
            self._deliveries.record(first.delivery)

    def _end_hold(self, session_id: str) -> None:
        if (hold := self._holds.pop(session_id, None)) is not None:
            hold.is_over.set()

    # --- what is recorded ---------------------------------------------------------------------------

    def heard(self, session_id: str, event_id: str) -> None:
        if (hold := self._holds.get(session_id)) is not None and hold.event_id == event_id:
            self._end_hold(session_id)
        if self.delivers(session_id):
            self._begin(session_id)
        else:
            self._stop(session_id)

    def added(self, event: RecordedDelivery, dropped: Sequence[Delivery]) -> None:
        session_id, waiting = event.delivery.session_id, self._deliveries.waiting
        if not self.delivers(session_id):
            return
        self._deliveries.forget(dropped)
        if self._deliveries.is_unwanted(session_id):
            self._abandon(event, "an earlier event of the session was answered with 410")
        elif waiting.is_exceeded_by(event.delivery.owner):
            self._abandon(event, "too much is waiting to be delivered")
        elif self._deliveries.count(session_id) > QUEUE_MAX:
            self._abandon(self._deliveries.pending(session_id)[1], "too many later ones were waiting")

    def _abandon(self, kept: RecordedDelivery, why: str) -> None:
        given_up = kept.delivery.abandoned(why, self._clock())
        self._deliveries.finish(given_up)
        self._tries.note(given_up)

    async def _check_always(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                self._check()
            except Exception:
                log.exception("callback_fault", id=None)

    def _check(self) -> None:
        """Begin what is to be delivered here, also what no other replica delivers any more."""
        for session_id, hold in list(self._holds.items()):
            if not self._replicas.is_alive(hold.former):
                self._end_hold(session_id)
        unknown: dict[str, float] = {}
        for session_id in self._deliveries.sessions:
            if self._owner(session_id) is None:
                unknown[session_id] = self._unknown_since.get(session_id, self._clock())
                self._take_orphans(session_id, unknown[session_id])
            if self.delivers(session_id):
                self._begin(session_id)
        self._unknown_since = unknown

    def _take_orphans(self, session_id: str, unknown_since: float) -> None:
        if not self._replicas.is_leader:
            return
        deliverer = self._deliverer(session_id)
        is_dead = bool(deliverer) and not self._replicas.is_alive(deliverer)
        if is_dead or (not deliverer and self._clock() >= unknown_since + ORPHANED_AFTER):
            self._deliveries.begin_anew(session_id)
            self._deliveries.assign(session_id, self._store.replica_id)

    # --- delivering ---------------------------------------------------------------------------------

    def _begin(self, session_id: str) -> None:
        if session_id in self._lines or self._is_stopping or not self._deliveries.count(session_id):
            return
        self._lines[session_id] = line = _Line()
        line.task = self._tasks.spawn(self._deliver_all(session_id, line), name=f"{session_id} callbacks", for_all=True)

    def _stop(self, session_id: str) -> bool:
        """Stop to deliver the events of a session, after the try that is under way. Returns whether there is none."""
        line = self._lines.get(session_id)
        if line is None:
            return True
        if line.is_trying:
            return False
        del self._lines[session_id]
        if line.task is not None:
            line.task.cancel()
        return True

    async def _deliver_all(self, session_id: str, line: _Line) -> None:
        about = {"session_id": session_id}
        with suppress(UnknownSession):
            about = self._store.get(session_id).log_fields
        structlog.contextvars.bind_contextvars(**about)
        try:
            while not self._is_stopping and self.delivers(session_id):
                pending = self._deliveries.pending(session_id)
                if not pending:
                    break
                if self._deliveries.is_unwanted(session_id):
                    for kept in pending:
                        self._abandon(kept, "an earlier event of the session was answered with 410")
                    break
                await self._deliver(pending[0].delivery, line)
        finally:
            if self._lines.get(session_id) is line:
                del self._lines[session_id]

    async def _deliver(self, delivery: Delivery, line: _Line) -> None:
        """Try once, when it is due and this replica may act."""
        session_id = delivery.session_id
        await self._until_released(session_id)
        if delivery.next_try_at is not None:
            await asyncio.sleep(delivery.next_try_at - self._clock())
        await self._acting.until_acting()
        async with self._tries.http_client.slots.slot(delivery.owner, delivery.url):
            kept = self._deliveries.find(session_id, delivery.id)
            if kept is None or not self._acting.may_act or not self.delivers(session_id):
                return
            begun = kept.delivery.begun(self._clock())
            line.is_trying = True
            try:
                self._deliveries.show(begun)
                self._tries.note(begun)
                after = await self._tries.send(begun, kept.body.encode())
            finally:
                line.is_trying = False
        self._tried(after)

    async def _until_released(self, session_id: str) -> None:
        if (hold := self._holds.get(session_id)) is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(HELD_FOR):
                await hold.is_over.wait()
        if self._holds.get(session_id) is hold:
            del self._holds[session_id]

    def _tried(self, delivery: Delivery) -> None:
        self._tries.note(delivery)
        if delivery.finished_at is None:
            self._deliveries.record(delivery)
            return
        self._deliveries.finish(delivery)
        if not delivery.is_unwanted:
            return
        if self._owner(delivery.session_id) is not None:
            self._deliveries.refuse_more(delivery)
        for later in self._deliveries.pending(delivery.session_id):
            self._abandon(later, "an earlier event of the session was answered with 410")
