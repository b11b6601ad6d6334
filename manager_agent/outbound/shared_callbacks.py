"""Callbacks of a deployment with several replicas: exactly one of them delivers the events of a session, in order.

It is the owner of the session. When another replica becomes the owner, it goes on with what is pending, under the same
ids. One that is alive lets it know when its last try is over. Of a session that is removed with events pending, the
last owner delivers them; if that one is dead, or did not take them, the leader does.

A try that was under way when its replica died is repeated by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from manager_agent.clock import Clock
from manager_agent.outbound.callback_lines import UNWANTED, ActingTurn, CallbackLines
from manager_agent.outbound.deliverers import Deliverers, FormerOwners, OtherReplicas
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, event_id
from manager_agent.outbound.delivery_queues import QUEUE_MAX
from manager_agent.outbound.delivery_records import RecordedDelivery
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import Change
from manager_agent.store.stored_session import Ownership
from manager_agent.tasks import Tasks

log = structlog.get_logger()

CHECK_INTERVAL = 1.0
ORPHANED_AFTER = 10.0
"""Seconds after which the leader delivers what no replica has taken of a session that is not known."""


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
        self._replicas, self._clock = replicas, clock
        self.finished: Mapping[DeliveryState, int] = tries.finished
        """Number of events that this replica has delivered and given up."""
        self._deliverers, self._former_owners = Deliverers(deliveries, store), FormerOwners(replicas)
        self._lines = CallbackLines(
            deliveries=deliveries,
            deliverers=self._deliverers,
            former_owners=self._former_owners,
            tries=tries,
            store=store,
            acting=acting,
            clock=clock,
        )
        self._unknown_since: dict[str, float] = {}
        self._checking = Tasks()
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
        """Begin no try. Leave what is not delivered in time to other replicas, or the next process."""
        await self._checking.aclose()
        await self._lines.aclose()
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

    # --- who owns the session -----------------------------------------------------------------------

    def _owner_changed(self, session_id: str, before: Ownership | None, after: Ownership | None) -> None:
        own_id = self._store.replica_id
        was_own, is_own = (one is not None and one.owner == own_id for one in (before, after))
        if after is None and was_own:
            self._deliverers.removed_here(session_id)
        elif was_own and not is_own:
            self._lost(session_id)
        elif is_own and before is not None and not was_own:
            self._gained(session_id, before.owner)

    def _gained(self, session_id: str, former: str) -> None:
        pending = self._deliveries.pending(session_id)
        if not pending:
            return
        self._deliveries.begin_anew(session_id)
        self._former_owners.hold(session_id, [event.delivery.id for event in pending], former)
        self._lines.begin(session_id)

    def _lost(self, session_id: str) -> None:
        """Stop, and let the new owner know once no try is under way."""
        self._former_owners.release(session_id)
        if self._lines.stop(session_id):
            self._lines.let_go(session_id)

    # --- what is recorded ---------------------------------------------------------------------------

    def delivers(self, session_id: str) -> bool:
        return self._deliverers.delivers(session_id)

    def heard(self, session_id: str, event_id: str) -> None:
        is_pending = self._deliveries.find(session_id, event_id) is not None
        self._former_owners.heard(session_id, event_id, is_pending=is_pending)
        if self.delivers(session_id):
            self._lines.begin(session_id)
        else:
            self._lines.stop(session_id)

    def added(self, event: RecordedDelivery, dropped: Sequence[Delivery]) -> None:
        session_id, waiting = event.delivery.session_id, self._deliveries.waiting
        if not self.delivers(session_id):
            return
        self._deliveries.forget(dropped)
        if self._deliveries.is_unwanted(session_id):
            self._lines.abandon(event, UNWANTED)
        elif waiting.is_exceeded_by(event.delivery.owner):
            self._lines.abandon(event, "too much is waiting to be delivered")
        elif self._deliveries.count(session_id) > QUEUE_MAX:
            self._lines.abandon(self._deliveries.pending(session_id)[1], "too many later ones were waiting")

    # --- what no other replica does -----------------------------------------------------------------

    async def _check_always(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                self._check()
            except Exception:
                log.exception("callback_fault", id=None)

    def _check(self) -> None:
        """Begin what is to be delivered here, also what no other replica delivers any more."""
        self._former_owners.release_those_of_the_dead()
        self._deliveries.put_back_the_rest()
        unknown: dict[str, float] = {}
        for session_id in self._deliveries.sessions:
            if self._deliverers.owner(session_id) is None:
                unknown[session_id] = self._unknown_since.get(session_id, self._clock())
                self._take_orphans(session_id, unknown[session_id])
            if self.delivers(session_id):
                self._lines.begin(session_id)
        self._unknown_since = unknown

    def _take_orphans(self, session_id: str, unknown_since: float) -> None:
        if not self._replicas.is_leader:
            return
        deliverer = self._deliverers.deliverer(session_id)
        is_dead = bool(deliverer) and not self._replicas.is_alive(deliverer)
        if is_dead or (not deliverer and self._clock() >= unknown_since + ORPHANED_AFTER):
            self._deliveries.begin_anew(session_id)
            self._deliveries.assign(session_id, self._store.replica_id)
