"""Callbacks: one signed POST to the owner's back end for each state that a session enters.

The events of one session are delivered in order: each waits until the previous one is delivered or given up. Sessions
wait neither for each other nor for their callbacks. deliveries.py decides when to retry an event and when to give up.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from ulid import ULID

from manager_agent.clock import Clock
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, event_of
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.outbound.signing import signed_headers
from manager_agent.session.session import Session
from manager_agent.store.recording import Recording
from manager_agent.store.store import Change, NotActing
from manager_agent.tasks import Tasks

log = structlog.get_logger()

QUEUE_MAX = 32
"""Events that may wait for one session. Beyond it the oldest is given up: newer ones matter more."""
BYTES_MAX, OWNER_BYTES_MAX = 64 * 1024 * 1024, 16 * 1024 * 1024
"""Bytes that may wait, in all and for one owner. Events beyond them are given up at once."""
STOP_TIMEOUT = 2.0
"""Seconds for pending events when the process ends."""

View = Callable[[Session], Mapping[str, Any]]
"""The session as its owner sees it, without a token."""
SigningKeys = Callable[[str], tuple[str, str]]
"""From the name of an owner to the key and secret that sign its callbacks."""


@dataclass(slots=True, eq=False)
class QueuedDelivery:
    delivery: Delivery
    body: bytes


@dataclass(slots=True)
class SessionQueue:
    """The undelivered events of one session, in order; the first is under way."""

    deliveries: deque[QueuedDelivery] = field(default_factory=deque)
    is_unwanted: bool = False
    """The receiver answered 410: it wants no further events."""
    is_over: bool = False
    """The session is over, so no further event follows."""


class Callbacks:
    """`tell` is a listener of the store; `delivery_log` has the outcome of each event."""

    def __init__(
        self,
        *,
        http_client: GuardedHttpClient,
        recording: Recording,
        clock: Clock,
        livekit_clock: Clock,
        view: View,
        signing_keys: SigningKeys,
    ) -> None:
        self._recording = recording
        self.delivery_log = DeliveryLog()
        self.finished: Counter[DeliveryState] = Counter()
        """Number of events delivered and given up."""
        self._http_client, self._view, self._signing_keys = http_client, view, signing_keys
        self._clock, self._livekit_clock = clock, livekit_clock
        self._queues: dict[str, SessionQueue] = {}
        self._bytes: Counter[str] = Counter()
        """Waiting bytes, by owner."""
        self._tasks = Tasks()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        await self._http_client.start()

    async def aclose(self) -> None:
        """Call it once the sessions are recorded. Make waiting retries at once; drop the rest after STOP_TIMEOUT."""
        self._stopping.set()
        await self._tasks.aclose(STOP_TIMEOUT)
        if self.pending:
            log.warning("callbacks_dropped", count=self.pending)
        await self._http_client.aclose()

    @property
    def pending(self) -> int:
        """Number of events under way or waiting."""
        return sum(len(queue.deliveries) for queue in self._queues.values())

    def tell(self, change: Change) -> None:
        """Queue the event of this change, if it is one."""
        session, session_id = change.session, change.session_id
        if (url := session.callback_url) is None or (event := event_of(change)) is None:
            return
        queue = self._queues.get(session_id)
        if queue is not None and queue.is_unwanted:
            queue.is_over = session.over
            self._forget(session_id, queue)
            return
        now = self._clock()
        delivery = Delivery(f"cb_{ULID.from_timestamp(now)}", event, session_id, session.owner, url, now)
        content = {"event": event, "id": delivery.id, "createdAt": str(int(now)), "session": self._view(session)}
        queued = QueuedDelivery(delivery, json.dumps(content, separators=(",", ":")).encode())
        self.delivery_log.add(delivery)
        if not self._has_room_for(queued):
            self._record(queued, delivery.abandoned("too much is waiting to be delivered", now))
            return
        self._bytes[session.owner] += len(queued.body)
        if queue is None:
            queue = self._queues[session_id] = SessionQueue()
            delivering = self._deliver_in_order(session_id, queue, session.log_fields)
            self._tasks.spawn(delivering, name=f"{session_id} callbacks")
        queue.deliveries.append(queued)
        queue.is_over = session.over
        if len(queue.deliveries) > QUEUE_MAX:
            self._abandon(queue, queue.deliveries[1], "too many later ones were waiting")

    def _has_room_for(self, queued: QueuedDelivery) -> bool:
        owner, size = queued.delivery.owner, len(queued.body)
        return self._bytes[owner] + size <= OWNER_BYTES_MAX and self._bytes.total() + size <= BYTES_MAX

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
        if delivery.finished_at is not None:
            self.finished[delivery.state] += 1
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
        owner = queued.delivery.owner
        self._bytes[owner] -= len(queued.body)
        if not self._bytes[owner]:
            del self._bytes[owner]

    def _forget(self, session_id: str, queue: SessionQueue) -> None:
        """Drop the queue, unless it must remember that the receiver wants no events of this session."""
        if queue.is_over or not queue.is_unwanted:
            self._queues.pop(session_id, None)
