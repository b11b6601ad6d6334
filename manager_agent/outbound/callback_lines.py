"""Delivers the events of the sessions for which this replica does so: of each session one after the other, in order."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from manager_agent.clock import Clock
from manager_agent.outbound.deliverers import Deliverers, FormerOwners
from manager_agent.outbound.deliveries import Delivery
from manager_agent.outbound.delivery_records import RecordedDelivery
from manager_agent.outbound.delivery_tries import DeliveryTries
from manager_agent.outbound.shared_deliveries import SharedDeliveries
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession
from manager_agent.tasks import Tasks

STOP_TIMEOUT = 2.0
"""Seconds for tries under way when the process ends."""
UNWANTED = "an earlier event of the session was answered with 410"


class ActingTurn(Protocol):
    @property
    def may_act(self) -> bool: ...

    async def until_acting(self) -> None:
        """Return when this replica may act. It may be never."""


@dataclass(slots=True, eq=False)
class _Line:
    """What delivers the events of one session."""

    task: asyncio.Task[None] | None = None
    is_trying: bool = False


class CallbackLines:
    def __init__(
        self,
        *,
        deliveries: SharedDeliveries,
        deliverers: Deliverers,
        former_owners: FormerOwners,
        tries: DeliveryTries,
        store: RedisStore,
        acting: ActingTurn,
        clock: Clock,
    ) -> None:
        self._deliveries, self._deliverers, self._former_owners = deliveries, deliverers, former_owners
        self._tries, self._store, self._acting, self._clock = tries, store, acting, clock
        self._lines: dict[str, _Line] = {}
        self._is_stopping = False
        self._tasks = Tasks()

    async def aclose(self) -> None:
        """Begin no try, and end those under way after STOP_TIMEOUT."""
        self._is_stopping = True
        for session_id in list(self._lines):
            self.stop(session_id)
        await self._tasks.aclose(STOP_TIMEOUT)

    def begin(self, session_id: str) -> None:
        """Deliver what is pending of a session, if that is not under way."""
        if session_id in self._lines or self._is_stopping or not self._deliveries.count(session_id):
            return
        self._lines[session_id] = line = _Line()
        line.task = self._tasks.spawn(self._deliver_all(session_id, line), name=f"{session_id} callbacks", for_all=True)

    def stop(self, session_id: str) -> bool:
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

    def let_go(self, session_id: str) -> None:
        """Let the new owner of a session know that no try is under way here."""
        for first in self._deliveries.pending(session_id)[:1]:
            self._deliveries.record(first.delivery)

    def abandon(self, kept: RecordedDelivery, why: str) -> None:
        """Give an event up."""
        given_up = kept.delivery.abandoned(why, self._clock())
        self._deliveries.finish(given_up)
        self._tries.note(given_up)

    async def _deliver_all(self, session_id: str, line: _Line) -> None:
        about = {"session_id": session_id}
        with suppress(UnknownSession):
            about = self._store.get(session_id).log_fields
        structlog.contextvars.bind_contextvars(**about)
        try:
            while not self._is_stopping and self._deliverers.delivers(session_id):
                pending = self._deliveries.pending(session_id)
                if not pending:
                    break
                if self._deliveries.is_unwanted(session_id):
                    for kept in pending:
                        self.abandon(kept, UNWANTED)
                    break
                await self._deliver(pending[0].delivery, line)
        finally:
            if self._lines.get(session_id) is line:
                del self._lines[session_id]

    async def _deliver(self, delivery: Delivery, line: _Line) -> None:
        """Try once, when it is due and this replica may act."""
        session_id = delivery.session_id
        await self._former_owners.until_released(session_id)
        if delivery.next_try_at is not None:
            await asyncio.sleep(delivery.next_try_at - self._clock())
        await self._acting.until_acting()
        async with self._tries.http_client.slots.slot(delivery.owner, delivery.url):
            kept = self._deliveries.find(session_id, delivery.id)
            if kept is None or not self._acting.may_act or not self._deliverers.delivers(session_id):
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
        if after.finished_at is not None and not self._deliverers.delivers(session_id):
            self.let_go(session_id)

    def _tried(self, delivery: Delivery) -> None:
        self._tries.note(delivery)
        if delivery.finished_at is None:
            self._deliveries.record(delivery)
            return
        self._deliveries.finish(delivery)
        if not delivery.is_unwanted:
            return
        if self._deliverers.owner(delivery.session_id) is not None:
            self._deliveries.refuse_more(delivery)
        for later in self._deliveries.pending(delivery.session_id):
            self.abandon(later, UNWANTED)
