"""Callbacks: one signed POST to the owner's back end for each state that a session enters.

One process does this: each change of its sessions queues its event (deliverer.py). The next process goes on with what
is not delivered (delivery_records.py), and tells the present state of a session if it does not know that this was done.
Several replicas share the events of their sessions instead (shared_callbacks.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from manager_agent.clock import Clock
from manager_agent.outbound.deliverer import Deliverer, SigningKeys
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, is_event
from manager_agent.outbound.delivery_queues import QueuedDelivery, SessionQueue
from manager_agent.outbound.delivery_records import DeliveryRecords
from manager_agent.outbound.http_client import GuardedHttpClient
from manager_agent.records.records import Records
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import Change
from manager_agent.tasks import Tasks

log = structlog.get_logger()

LEFT = "the next process sends them with STATE_DIR; without it, those about the present state of a session"

View = Callable[[Session], Mapping[str, Any]]
"""The session as its owner sees it, without a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMeans:
    """What callbacks are made and sent with."""

    http_client: GuardedHttpClient
    recording: Recording
    records: Records
    clock: Clock
    livekit_clock: Clock
    view: View
    signing_keys: SigningKeys

    def deliverer(
        self,
        finish: Callable[[Delivery, bool], None],
        tried: Callable[[Delivery], None] = lambda _: None,
        delivery_log: DeliveryLog | None = None,
    ) -> Deliverer:
        """For the arguments see Deliverer."""
        return Deliverer(
            http_client=self.http_client,
            recording=self.recording,
            clock=self.clock,
            livekit_clock=self.livekit_clock,
            signing_keys=self.signing_keys,
            finish=finish,
            tried=tried,
            delivery_log=delivery_log,
        )

    def event(self, session: Session, url: str) -> QueuedDelivery:
        """The event of the present state of a session, made now."""
        delivery = Delivery.of(session, url, self.clock())
        since, shown = str(int(session.state_since)), self.view(session)
        content = {"event": delivery.event, "id": delivery.id, "createdAt": since, "session": shown}
        return QueuedDelivery(delivery, json.dumps(content, separators=(",", ":")).encode())


class Callbacks:
    """`tell` is a listener of the store; `delivery_log` has the outcome of each event."""

    def __init__(self, means: CallbackMeans, recovered: Callable[[], Awaitable[object]]) -> None:
        """`recovered`: returns once all sessions of earlier processes are known."""
        self._means, self._kept, self._recovered = means, DeliveryRecords(means.records), recovered
        self._deliverer = means.deliverer(self._kept.finish)
        self._waiting = Tasks()

    @property
    def delivery_log(self) -> DeliveryLog:
        return self._deliverer.delivery_log

    @property
    def finished(self) -> Counter[DeliveryState]:
        """Number of events delivered and given up."""
        return self._deliverer.finished

    @property
    def pending(self) -> int:
        """Number of events under way or waiting."""
        return self._kept.left + self._deliverer.pending

    async def start(self) -> None:
        await self._deliverer.start()

    async def restore(self) -> None:
        """Take over what an earlier process left. Call it once, before sessions are restored."""
        await self._kept.load()
        self._waiting.spawn(self._deliver_rest(), name="callbacks of forgotten sessions")

    async def aclose(self) -> None:
        """Call it once the sessions are recorded. Make waiting retries at once; leave the rest after a moment."""
        await self._waiting.aclose()
        await self._deliverer.aclose()
        if self.pending:
            log.warning("callbacks_left", count=self.pending, hint=LEFT)
        await self._deliverer.disconnect()

    def tell(self, change: Change) -> None:
        """Queue the event of this change, if it is one."""
        session = change.session
        if session.callback_url is None:
            return
        if change.after is None:
            self._kept.forget(session.session_id)
            self._deliverer.session_forgotten(session.session_id)
        elif change.is_restored:
            revision = session.state_revision if change.recorded_revision is None else change.recorded_revision
            self._session_restored(session, session.callback_url, revision)
        elif is_event(change):
            self._add(session, session.callback_url)

    def _session_restored(self, session: Session, url: str, recorded_revision: int) -> None:
        """Go on with what an earlier process left, and tell the present state if that was not done, as far as is known
        here. The first state is no event. `recorded_revision`: with which the latest recorded state began."""
        left = self._kept.take(session.session_id, recorded_revision)
        if left.last is not None and left.last.is_unwanted:
            if not session.over:
                self._deliverer.queues[session.session_id] = SessionQueue(is_unwanted=True)
            return
        told = 1 if left.last is None else left.last.revision
        for kept in left.pending:
            told = kept.delivery.revision
            self._enqueue(session, QueuedDelivery(kept.delivery, kept.body.encode()))
        if told < session.state_revision:
            self._add(session, url)

    async def _deliver_rest(self) -> None:
        """Deliver what an earlier process left of sessions that are not known any more."""
        await self._recovered()
        for kept in self._kept.take_rest():
            queued = QueuedDelivery(kept.delivery, kept.body.encode())
            about = {"session_id": kept.delivery.session_id}
            self._deliverer.enqueue(queued, about, is_over=True, is_forgotten=True)

    def _add(self, session: Session, url: str) -> None:
        """Queue the event of the present state."""
        if self._deliverer.is_unwanted(session):
            return
        queued = self._means.event(session, url)
        self._kept.keep(queued.delivery, queued.body)
        self._enqueue(session, queued)

    def _enqueue(self, session: Session, queued: QueuedDelivery) -> None:
        self._deliverer.enqueue(queued, session.log_fields, is_over=session.over)
