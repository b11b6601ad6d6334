"""Telling clients' own back ends what becomes of their sessions: one signed POST for each state that a session takes.

For one session in order: the next event waits until the one before is delivered or given up. Sessions do not wait for
each other, nor for any of this. deliveries.py says when an event is tried again, and when it is given up.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import structlog
from ulid import ULID

from manager_agent.clock import Clock
from manager_agent.outbound.deliveries import Delivery, DeliveryLog, DeliveryState, event_of
from manager_agent.outbound.http_client import DeliveryFailed, GuardedHttpClient
from manager_agent.outbound.signing import signed_headers
from manager_agent.session.session import Session
from manager_agent.store.store import Change
from manager_agent.tasks import Tasks

log = structlog.get_logger()

LINE_MAX = 32
"""Events that may wait for one session. Beyond, the oldest gives way: what is newer says more."""
BYTES_MAX, OWNER_BYTES_MAX = 64 * 1024 * 1024, 16 * 1024 * 1024
"""Of all that waits, and of what waits for one owner. What comes beyond is given up at once."""
UNDER_WAY_MAX, OWNER_UNDER_WAY_MAX = 100, 20
"""Tries at once, of all and of one owner: receivers that hang keep no other owner's waiting."""
STOP_PATIENCE = 3.0
"""Seconds for what is pending when the process ends."""

View = Callable[[Session], Mapping[str, Any]]
"""The session as its owner is shown it, without a token."""
SigningKeys = Callable[[str], tuple[str, str]]
"""Key and secret that sign what is sent to the owner of this name."""


@dataclass(slots=True, eq=False)
class QueuedDelivery:
    delivery: Delivery
    body: bytes


@dataclass(slots=True)
class SessionQueue:
    """What is still to be told of one session, in order; the first is under way."""

    letters: deque[QueuedDelivery] = field(default_factory=deque)
    is_unwanted: bool = False
    """The other side wants to hear no more."""
    is_over: bool = False
    """The session is, and so nothing more will come."""


class Callbacks:
    """`tell` is for the store's listen(); `delivery_log` has what became of each event."""

    def __init__(self, *, http_client: GuardedHttpClient, clock: Clock, view: View, signing_keys: SigningKeys) -> None:
        self.delivery_log = DeliveryLog()
        self.finished: Counter[DeliveryState] = Counter()
        """How many events were delivered, and how many given up."""
        self._http_client, self._clock, self._view, self._signing_keys = http_client, clock, view, signing_keys
        self._lines: dict[str, SessionQueue] = {}
        self._bytes: Counter[str] = Counter()
        """That wait, by owner."""
        self._slots = asyncio.Semaphore(UNDER_WAY_MAX)
        self._slots_of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks = Tasks()
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        await self._http_client.start()

    async def aclose(self) -> None:
        """Once the sessions are ended. What waits for its next try is tried at once; after STOP_PATIENCE the rest is
        dropped."""
        self._stopping.set()
        await self._tasks.aclose(STOP_PATIENCE)
        if self.pending:
            log.warning("callbacks_dropped", count=self.pending)
        await self._http_client.aclose()

    @property
    def pending(self) -> int:
        """How many events are under way, or wait for their turn."""
        return sum(len(line.letters) for line in self._lines.values())

    def tell(self, change: Change) -> None:
        """Sends the event of this change, if it is one, when its turn comes."""
        session, session_id = change.session, change.session_id
        if (url := session.callback_url) is None or (event := event_of(change)) is None:
            return
        line = self._lines.get(session_id)
        if line is not None and line.is_unwanted:
            line.is_over = session.over
            self._forget(session_id, line)
            return
        now = self._clock()
        delivery = Delivery(f"cb_{ULID.from_timestamp(now)}", event, session_id, session.owner, url, now)
        content = {"event": event, "id": delivery.id, "createdAt": str(int(now)), "session": self._view(session)}
        letter = QueuedDelivery(delivery, json.dumps(content, separators=(",", ":")).encode())
        self.delivery_log.add(delivery)
        if not self._has_room_for(letter):
            self._dispatch_metadata(letter, delivery.abandoned("too much is waiting to be delivered", now))
            return
        self._bytes[session.owner] += len(letter.body)
        if line is None:
            line = self._lines[session_id] = SessionQueue()
            delivering = self._deliver_in_order(session_id, line, session.log_fields)
            self._tasks.spawn(delivering, name=f"{session_id} callbacks")
        line.letters.append(letter)
        line.is_over = session.over
        if len(line.letters) > LINE_MAX:
            self._abandon(line, line.letters[1], "too many later ones were waiting")

    def _has_room_for(self, letter: QueuedDelivery) -> bool:
        owner, size = letter.delivery.owner, len(letter.body)
        return self._bytes[owner] + size <= OWNER_BYTES_MAX and self._bytes.total() + size <= BYTES_MAX

    async def _deliver_in_order(self, session_id: str, line: SessionQueue, about: Mapping[str, str]) -> None:
        structlog.contextvars.clear_contextvars()  # those of whatever made the first event
        structlog.contextvars.bind_contextvars(**about)
        while line.letters:
            letter = line.letters[0]
            await self._deliver(letter)
            self._take_out(line, letter)
            if letter.delivery.is_unwanted:
                line.is_unwanted = True
                for later in list(line.letters):
                    self._abandon(line, later, "an earlier event of the session was answered with 410")
        self._forget(session_id, line)

    async def _deliver(self, letter: QueuedDelivery) -> None:
        """Until it is delivered or given up."""
        while letter.delivery.state is DeliveryState.PENDING:
            await self._pause(letter.delivery.next_try_at)
            async with self._slot(letter.delivery.owner):
                self._dispatch_metadata(letter, letter.delivery.begun(self._clock()))
                after = await self._try(letter)
            self._dispatch_metadata(letter, after)

    async def _try(self, letter: QueuedDelivery) -> Delivery:
        delivery = letter.delivery
        try:
            headers = signed_headers(letter.body, *self._signing_keys(delivery.owner))
            status = await self._http_client.deliver(delivery.url, letter.body, headers)
        except DeliveryFailed as error:
            return delivery.unanswered(str(error), self._clock())
        except Exception:
            log.exception("callback_fault", id=delivery.id)
            return delivery.unanswered("an error of this server", self._clock())
        return delivery.answered(status, self._clock())

    async def _pause(self, until: float | None) -> None:
        """Not any longer when the process is asked to end; but what fails after that has its pause again."""
        seconds = 0.0 if until is None else until - self._clock()
        if self._stopping.is_set():
            await asyncio.sleep(seconds)
        elif seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()

    @asynccontextmanager
    async def _slot(self, owner: str) -> AsyncIterator[None]:
        own = self._slots_of.setdefault(owner, asyncio.Semaphore(OWNER_UNDER_WAY_MAX))
        async with own, self._slots:
            yield

    def _dispatch_metadata(self, letter: QueuedDelivery, delivery: Delivery) -> None:
        letter.delivery = delivery
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

    def _abandon(self, line: SessionQueue, letter: QueuedDelivery, why: str) -> None:
        self._take_out(line, letter)
        self._dispatch_metadata(letter, letter.delivery.abandoned(why, self._clock()))

    def _take_out(self, line: SessionQueue, letter: QueuedDelivery) -> None:
        line.letters.remove(letter)
        owner = letter.delivery.owner
        self._bytes[owner] -= len(letter.body)
        if not self._bytes[owner]:
            del self._bytes[owner]

    def _forget(self, session_id: str, line: SessionQueue) -> None:
        """Unless it is to be remembered that nobody wants to hear of this session."""
        if line.is_over or not line.is_unwanted:
            self._lines.pop(session_id, None)
