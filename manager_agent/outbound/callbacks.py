"""Callbacks: one signed POST to the owner's back end for each state that a session enters.

The events of one session are delivered in order: each waits until the previous one is delivered or given up. Sessions
wait neither for each other nor for their callbacks. deliveries.py decides when to retry an event and when to give up.
The next process goes on with what is not delivered (delivery_records.py), and tells the present state of a session if
it does not know that this was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.outbound.callback_events import View, event_of
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, is_event
from manager_agent.outbound.delivery_queues import QUEUE_MAX, QueuedDelivery, SessionQueue, WaitingBytes
from manager_agent.outbound.delivery_records import DeliveryRecords
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.records.records import Records
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import Change
from manager_agent.tasks import Tasks

log = structlog.get_logger()

STOP_TIMEOUT = 2.0
"""Seconds for pending events when the process ends."""
LEFT = "the next process sends them with STATE_DIR; without it, those about the present state of a session"

_NO_QUEUE = SessionQueue()


class Callbacks:
    """`tell` is a listener of the store; `delivery_log` has the outcome of each event."""

    def __init__(
        self,
        *,
        tries: DeliveryTries,
        recording: Recording,
        records: Records,
        recovered: Callable[[], Awaitable[object]],
        clock: Clock,
        view: View,
    ) -> None:
        """`recovered`: returns once all sessions of earlier processes are known."""
        self._recording, self._kept, self._recovered = recording, DeliveryRecords(records), recovered
        self.delivery_log = DeliveryLog()
        self.finished: Mapping[DeliveryState, int] = tries.finished
        """Number of events delivered and given up."""
        self._tries, self._http_client, self._view, self._clock = tries, tries.http_client, view, clock
        self._queues: dict[str, SessionQueue] = {}
        self._bytes = WaitingBytes()
        self._tasks, self._waiting = Tasks(), Tasks()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        await self._http_client.start()

    async def restore(self) -> None:
        """Take over what an earlier process left. Call it once, before sessions are restored."""
        await self._kept.load()
        self._waiting.spawn(self._deliver_rest(), name="callbacks of forgotten sessions")

    async def aclose(self) -> None:
        """Call it once the sessions are recorded. Make waiting retries at once; leave the rest after STOP_TIMEOUT."""
        self._stopping.set()
        await self._waiting.aclose()
        await self._tasks.aclose(STOP_TIMEOUT)
        if self.pending:
            log.warning("callbacks_left", count=self.pending, hint=LEFT)
        await self._http_client.aclose()

    @property
    def pending(self) -> int:
        """Number of events under way or waiting."""
        return self._kept.left + sum(len(queue.deliveries) for queue in self._queues.values())

    def tell(self, change: Change) -> None:
        """Queue the event of this change, if it is one."""
        session = change.session
        if session.callback_url is None:
            return
        if change.after is None:
            self._session_forgotten(session)
        elif change.is_restored:
            revision = session.state_revision if change.recorded_revision is None else change.recorded_revision
            self._session_restored(session, session.callback_url, revision)
        elif is_event(change):
            self._add(session, session.callback_url)

    def _session_forgotten(self, session: Session) -> None:
        self._kept.forget(session.session_id)
        if (queue := self._queues.get(session.session_id)) is not None:
            queue.is_over = queue.is_forgotten = True
            self._forget(session.session_id, queue)

    def _session_restored(self, session: Session, url: str, recorded_revision: int) -> None:
        """Go on with what an earlier process left, and tell the present state if that was not done, as far as is known
        here. The first state is no event. `recorded_revision`: with which the latest recorded state began."""
        left = self._kept.take(session.session_id, recorded_revision)
        if left.last is not None and left.last.is_unwanted:
            if not session.over:
                self._queues[session.session_id] = SessionQueue(is_unwanted=True)
            return
        told = 1 if left.last is None else left.last.revision
        for kept in left.pending:
            told = kept.delivery.revision
            self._enqueue(QueuedDelivery(kept.delivery, kept.body.encode()), session.log_fields, is_over=session.over)
        if told < session.state_revision:
            self._add(session, url)

    async def _deliver_rest(self) -> None:
        """Deliver what an earlier process left of sessions that are not known any more."""
        await self._recovered()
        for kept in self._kept.take_rest():
            session_id, queued = kept.delivery.session_id, QueuedDelivery(kept.delivery, kept.body.encode())
            self._enqueue(queued, {"session_id": session_id}, is_over=True, is_forgotten=True)

    def _add(self, session: Session, url: str) -> None:
        """Queue the event of the present state."""
        queue = self._queues.get(session.session_id)
        if queue is not None and queue.is_unwanted:
            queue.is_over = session.over
            self._forget(session.session_id, queue)
            return
        event = event_of(session, url, self._view, self._clock())
        queued = QueuedDelivery(event.delivery, event.body.encode())
        self._kept.keep(queued.delivery, queued.body)
        self._enqueue(queued, session.log_fields, is_over=session.over)

    def _enqueue(
        self, queued: QueuedDelivery, about: Mapping[str, str], *, is_over: bool, is_forgotten: bool = False
    ) -> None:
        """`about`: the fields of log entries about the session."""
        session_id = queued.delivery.session_id
        self.delivery_log.add(queued.delivery)
        if not self._bytes.has_room_for(queued):
            self._record(queued, queued.delivery.abandoned("too much is waiting to be delivered", self._clock()))
            return
        self._bytes.add(queued)
        queue = self._queues.get(session_id)
        if queue is None:
            queue = self._queues[session_id] = SessionQueue()
            self._tasks.spawn(self._deliver_in_order(session_id, queue, about), name=f"{session_id} callbacks")
        queue.deliveries.append(queued)
        queue.is_over, queue.is_forgotten = is_over, is_forgotten
        if len(queue.deliveries) > QUEUE_MAX:
            self._abandon(queue, queue.deliveries[1], "too many later ones were waiting")

    async def _deliver_in_order(self, session_id: str, queue: SessionQueue, about: Mapping[str, str]) -> None:
        structlog.contextvars.clear_contextvars()  # those of the code that caused the first event
        structlog.contextvars.bind_contextvars(**about)
        while queue.deliveries:
            queued = queue.deliveries[0]
            try:
                await self._recording.until_recorded(session_id, timeout=None)
            except NotActing:
                break  # what is not recorded did not happen for the process that has taken over
            await self._deliver(queued)
            self._take_out(queue, queued)
            if queued.delivery.is_unwanted:
                queue.is_unwanted = True
                for later in list(queue.deliveries):
                    self._abandon(queue, later, "an earlier event of the session was answered with 410")
        self._forget(session_id, queue)

    async def _deliver(self, queued: QueuedDelivery) -> None:
        """Try until it is delivered or given up."""
        while queued.delivery.state is DeliveryState.PENDING:
            await self._pause(queued.delivery.next_try_at)
            async with self._http_client.slots.slot(queued.delivery.owner, queued.delivery.url):
                self._record(queued, queued.delivery.begun(self._clock()))
                after = await self._tries.send(queued.delivery, queued.body)
            self._record(queued, after)

    async def _pause(self, until: float | None) -> None:
        """Sleep until then, or until the process is asked to end. A try that fails after that is paused in full."""
        seconds = 0.0 if until is None else until - self._clock()
        if self._stopping.is_set():
            await asyncio.sleep(seconds)
        elif seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()

    def _record(self, queued: QueuedDelivery, delivery: Delivery) -> None:
        queued.delivery = delivery
        self.delivery_log.update(delivery)
        if delivery.finished_at is not None:
            queue = self._queues.get(delivery.session_id, _NO_QUEUE)
            self._kept.finish(delivery, is_last=not queue.is_forgotten and not queue.is_unwanted)
        self._tries.note(delivery)

    def _abandon(self, queue: SessionQueue, queued: QueuedDelivery, why: str) -> None:
        self._take_out(queue, queued)
        self._record(queued, queued.delivery.abandoned(why, self._clock()))

    def _take_out(self, queue: SessionQueue, queued: QueuedDelivery) -> None:
        queue.deliveries.remove(queued)
        self._bytes.remove(queued)

    def _forget(self, session_id: str, queue: SessionQueue) -> None:
        """Drop the queue, unless it has events or must remember that the receiver wants none of this session."""
        if not queue.is_needed:
            self._queues.pop(session_id, None)
