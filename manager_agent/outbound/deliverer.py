"""Delivers the events of sessions: those of one session in order, each until it is delivered or given up.

Sessions wait neither for each other nor for their callbacks. deliveries.py decides when to retry an event and when to
give up. callbacks.py and shared_callbacks.py decide which events there are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState
from manager_agent.outbound.delivery_queues import QUEUE_MAX, QueuedDelivery, SessionQueue, WaitingBytes
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.outbound.signing import signed_headers
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.tasks import Tasks

log = structlog.get_logger()

STOP_TIMEOUT = 2.0
"""Seconds for pending events when the process ends."""

SigningKeys = Callable[[str], tuple[str, str]]
"""From the name of an owner to the key and secret that sign its callbacks."""
_NO_QUEUE = SessionQueue()


class Deliverer:
    def __init__(
        self,
        *,
        http_client: GuardedHttpClient,
        recording: Recording,
        clock: Clock,
        livekit_clock: Clock,
        signing_keys: SigningKeys,
        finish: Callable[[Delivery, bool], None],
        tried: Callable[[Delivery], None] = lambda _: None,
        delivery_log: DeliveryLog | None = None,
    ) -> None:
        """`finish`: told of each delivery that is finished, and whether it is what must be known of the session: it is
        still known, and its receiver wants its events. `tried`: told of each step of a delivery."""
        self.delivery_log = delivery_log or DeliveryLog()
        self.finished: Counter[DeliveryState] = Counter()
        """Number of events delivered and given up."""
        self.queues: dict[str, SessionQueue] = {}
        self._http_client, self._recording, self._signing_keys = http_client, recording, signing_keys
        self._clock, self._livekit_clock = clock, livekit_clock
        self._tried, self._finish = tried, finish
        self._bytes, self._tasks, self._stopping = WaitingBytes(), Tasks(), asyncio.Event()

    async def start(self) -> None:
        await self._http_client.start()

    async def aclose(self) -> None:
        """Make waiting retries at once; leave the rest after STOP_TIMEOUT."""
        self._stopping.set()
        await self._tasks.aclose(STOP_TIMEOUT)

    async def disconnect(self) -> None:
        await self._http_client.aclose()

    @property
    def pending(self) -> int:
        """Number of events under way or waiting."""
        return sum(len(queue.deliveries) for queue in self.queues.values())

    def let_go(self, session_id: str) -> None:
        """Another process goes on with the events of this session. One that is under way may be sent twice."""
        queue = self.queues.pop(session_id, None)
        if queue is None:
            return
        for queued in queue.deliveries:
            self._bytes.remove(queued)
        if queue.task is not None:
            queue.task.cancel()

    def has(self, delivery: Delivery) -> bool:
        """Whether it is queued."""
        queue = self.queues.get(delivery.session_id)
        return queue is not None and any(queued.delivery.id == delivery.id for queued in queue.deliveries)

    def session_forgotten(self, session_id: str) -> None:
        """The session is not known any more. What is queued is still delivered."""
        if (queue := self.queues.get(session_id)) is not None:
            queue.is_over = queue.is_forgotten = True
            self._forget(session_id, queue)

    def is_unwanted(self, session: Session) -> bool:
        """Whether the receiver wants no further events of this session. Call it for each of them."""
        queue = self.queues.get(session.session_id)
        if queue is None or not queue.is_unwanted:
            return False
        queue.is_over = session.over
        self._forget(session.session_id, queue)
        return True

    def enqueue(
        self, queued: QueuedDelivery, about: Mapping[str, str], *, is_over: bool, is_forgotten: bool = False
    ) -> None:
        """`about`: the fields of log entries about the session."""
        session_id = queued.delivery.session_id
        self.delivery_log.put(queued.delivery)
        if not self._bytes.has_room_for(queued):
            self._record(queued, queued.delivery.abandoned("too much is waiting to be delivered", self._clock()))
            return
        self._bytes.add(queued)
        queue = self.queues.get(session_id)
        if queue is None:
            queue = self.queues[session_id] = SessionQueue()
            queue.task = self._tasks.spawn(
                self._deliver_in_order(session_id, queue, about), name=f"{session_id} callbacks"
            )
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
                after = await self._try(queued)
            self._record(queued, after)

    async def _try(self, queued: QueuedDelivery) -> Delivery:
        delivery = queued.delivery
        try:
            headers = signed_headers(queued.body, *self._signing_keys(delivery.owner), at=self._livekit_clock())
            status = await self._http_client.deliver(delivery.url, queued.body, headers, owner=delivery.owner)
        except DeliveryFailed as error:
            return delivery.unanswered(error.refusal or str(error), self._clock())
        except Exception:
            log.exception("callback_fault", id=delivery.id)
            return delivery.unanswered("an error of this server", self._clock())
        return delivery.answered(status, self._clock())

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
        self._tried(delivery)
        if delivery.finished_at is not None:
            self.finished[delivery.state] += 1
            queue = self.queues.get(delivery.session_id, _NO_QUEUE)
            self._finish(delivery, not queue.is_forgotten and not queue.is_unwanted)
        about = {"id": delivery.id, "session_id": delivery.session_id, "event_name": delivery.event}
        how = {"host": delivery.host, "status": delivery.last_status, "error": delivery.last_error}
        if delivery.state is DeliveryState.DELIVERED:
            log.info("callback_delivered", tries=delivery.tries, host=delivery.host, **about)
        elif delivery.state is DeliveryState.GIVEN_UP:
            log.warning("callback_given_up", tries=delivery.tries, **how, **about)
        elif delivery.next_try_at is not None:
            log.debug("callback_failed", tries=delivery.tries, **how, **about)

    def _abandon(self, queue: SessionQueue, queued: QueuedDelivery, why: str) -> None:
        self._take_out(queue, queued)
        self._record(queued, queued.delivery.abandoned(why, self._clock()))

    def _take_out(self, queue: SessionQueue, queued: QueuedDelivery) -> None:
        queue.deliveries.remove(queued)
        self._bytes.remove(queued)

    def _forget(self, session_id: str, queue: SessionQueue) -> None:
        """Drop the queue, unless it has events or must remember that the receiver wants none of this session."""
        if not queue.is_needed:
            self.queues.pop(session_id, None)
