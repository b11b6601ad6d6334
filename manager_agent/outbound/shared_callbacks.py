"""Callbacks of several replicas: each event is delivered by the replica that acts for its session.

The record of an event is written in the same step as the change that it tells of, by whichever replica made it
(`outbox`). Every replica knows all of them (shared_deliveries.py). The owner of the session delivers them in order; the
next owner goes on with what is left. An event under way when the owner changes may be sent twice, with the same id.

The events of a session that is removed are still delivered by its last owner. If that replica leaves, the leader
delivers them; after a while also those whose last owner it does not know.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from manager_agent.outbound.callbacks import CallbackMeans
from manager_agent.outbound.deliveries import DeliveryLog, DeliveryState, is_event
from manager_agent.outbound.delivery_queues import QueuedDelivery
from manager_agent.outbound.delivery_records import RecordedDelivery
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.outbound.shared_delivery_log import SharedDeliveryLog
from manager_agent.records.pending_changes import RecordChange
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisConnection
from manager_agent.store.store import Change, Store, UnknownSession
from manager_agent.store.stored_session import Ownership
from manager_agent.tasks import Tasks

log = structlog.get_logger()

ORPHANS_INTERVAL = 2.0
"""Seconds between two looks for events that are left."""
ORPHANED_AFTER = 60.0
"""Seconds after which the events of a removed session are delivered by the leader, if it does not know who removed
it."""
LEFT = "another replica sends them"


class SharedStore(Store, Protocol):
    """What callbacks need of store/redis.py."""

    replica_id: str

    def owns(self, session_id: str) -> bool: ...

    def record_with(self, outbox: Callable[[Change], Sequence[RecordChange]]) -> None: ...

    def listen_to_owners(self, listener: Callable[[str, Ownership | None, Ownership | None], None]) -> None: ...


class SharedCallbacks:
    """`tell` is a listener of the store; `delivery_log` has the outcome of each event, at any replica."""

    def __init__(
        self,
        means: CallbackMeans,
        *,
        connection: RedisConnection,
        changelog: ChangeLog,
        store: SharedStore,
        is_leader: Callable[[], bool],
        is_dead: Callable[[str], bool],
    ) -> None:
        """Create it before the changelog starts. `is_leader`: whether this replica does what only one of them may do.
        `is_dead`: whether the replica of this id acts no more."""
        store.record_with(self.outbox)
        self._store, self._means, self._clock = store, means, means.clock
        self._is_leader, self._is_dead = is_leader, is_dead
        self._shared = SharedDeliveries(means.records, self._recorded)
        self.delivery_log = DeliveryLog()
        self._shared_log = SharedDeliveryLog(self.delivery_log, connection, changelog, store.replica_id)
        self._deliverer = means.deliverer(self._shared.finish, self._shared_log.tell, self.delivery_log)
        self._removed_by: dict[str, str] = {}
        """The last owners of removed sessions with events."""
        self._orphans_since: dict[str, float] = {}
        self._tasks = Tasks()
        store.listen_to_owners(self._owned)

    @property
    def finished(self) -> Counter[DeliveryState]:
        """Number of events delivered and given up here."""
        return self._deliverer.finished

    @property
    def pending(self) -> int:
        """Number of events under way or waiting here."""
        return self._deliverer.pending

    async def start(self) -> None:
        await self._deliverer.start()
        await self._shared_log.start()
        self._tasks.spawn(self._look_for_orphans(), name="callbacks of removed sessions", for_all=True)

    async def restore(self) -> None:
        """Records are read when the changelog is."""

    async def aclose(self) -> None:
        """Make waiting retries at once; leave the rest, after a moment, to the other replicas."""
        await self._tasks.aclose()
        await self._deliverer.aclose()
        if self.pending:
            log.warning("callbacks_left", count=self.pending, hint=LEFT)
        await self._deliverer.disconnect()
        await self._shared_log.aclose()

    # --- events -------------------------------------------------------------------------------------

    def outbox(self, change: Change) -> Sequence[RecordChange]:
        """What is recorded in the same step as this change of this replica."""
        kept = self._event_of(change)
        return () if kept is None else (self._shared.change_of(kept),)

    def tell(self, change: Change) -> None:
        """Know the event of this change; queue it if this replica acts for the session."""
        if change.after is None:
            self._deliverer.session_forgotten(change.session_id)
            self._shared.session_removed(change.session_id, is_own=not change.is_remote)
        elif not change.is_remote and (kept := self._event_of(change)) is not None:
            self._shared.keep(kept)
            self._recorded(kept)

    def _event_of(self, change: Change) -> RecordedDelivery | None:
        """The event of a change of this replica. A restored session tells its present state, if that was not done as
        far as is known."""
        session = change.session
        if change.after is None or session.callback_url is None or self._shared.is_unwanted(session.session_id):
            return None
        if change.is_restored:
            is_due = self._shared.told(session.session_id) < session.state_revision
        else:
            is_due = is_event(change)
        if not is_due:
            return None
        queued = self._means.event(session, session.callback_url)
        return RecordedDelivery(queued.delivery, queued.body.decode())

    def _recorded(self, kept: RecordedDelivery) -> None:
        """An event is recorded that is not delivered."""
        if not self.delivery_log.has(kept.delivery):  # it may know of tries
            self.delivery_log.put(kept.delivery)
        if self._store.owns(kept.delivery.session_id):
            self._queue(kept)

    def _queue(self, kept: RecordedDelivery) -> None:
        session_id = kept.delivery.session_id
        if self._deliverer.has(kept.delivery):
            return
        queued = QueuedDelivery(kept.delivery, kept.body.encode())
        try:
            session = self._store.get(session_id)
        except UnknownSession:
            about = {"session_id": session_id}
            self._deliverer.enqueue(queued, about, is_over=True, is_forgotten=True)
        else:
            self._deliverer.enqueue(queued, session.log_fields, is_over=session.over)

    # --- owners -------------------------------------------------------------------------------------

    def _owned(self, session_id: str, before: Ownership | None, after: Ownership | None) -> None:
        """The session has another owner, or is removed, which `tell` is told first."""
        if after is None:
            if before is not None and self._shared.pending_of(session_id):
                self._removed_by[session_id] = before.owner
        elif after.owner == self._store.replica_id:
            for kept in self._shared.pending_of(session_id):
                self._queue(kept)
        else:
            self._deliverer.let_go(session_id)

    async def _look_for_orphans(self) -> None:
        while True:
            await asyncio.sleep(ORPHANS_INTERVAL)
            for session_id in self._orphans():
                for kept in self._shared.pending_of(session_id):
                    self._queue(kept)

    def _orphans(self) -> Sequence[str]:
        """The removed sessions whose events are left to this replica."""
        removed = [one for one in self._shared.session_ids if not self._is_known(one)]
        now = self._clock()
        self._orphans_since = {one: self._orphans_since.get(one, now) for one in removed}
        self._removed_by = {one: by for one, by in self._removed_by.items() if one in self._orphans_since}
        return [one for one in removed if self._is_left_here(one, now)]

    def _is_left_here(self, session_id: str, now: float) -> bool:
        owner = self._removed_by.get(session_id)
        if owner == self._store.replica_id or not self._is_leader():
            return owner == self._store.replica_id
        if owner is None:
            return now > self._orphans_since[session_id] + ORPHANED_AFTER
        return self._is_dead(owner)

    def _is_known(self, session_id: str) -> bool:
        try:
            self._store.get(session_id)
        except UnknownSession:
            return False
        return True
