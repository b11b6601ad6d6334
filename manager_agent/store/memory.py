"""A store that keeps the sessions in memory, in one process, on one event loop.

`update` applies the event without an await between read and write, and wakes the waiters of that session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

import structlog

from manager_agent.clock import Clock
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change, Listener, RoomNameTaken, UnknownSession

log = structlog.get_logger()

Timing = Callable[[float], None]
"""Called with the seconds that each update took, including its listeners."""


@dataclass(slots=True)
class _Record:
    """A session, and a future for each caller that waits for its next change."""

    session: Session
    waiters: set[asyncio.Future[None]] = field(default_factory=set)

    def put(self, session: Session) -> None:
        self.session = session
        self.wake()

    def wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    async def change(self) -> None:
        """Wait for the next change. Each waiter has its own future: cancelling a waiter of a shared one would search
        all of its callbacks."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            await waiter
        finally:
            self.waiters.discard(waiter)


def _untimed(_: float) -> None:
    """Measure nothing."""


class MemoryStore:
    """The Store of one process."""

    def __init__(self, clock: Clock, timing: Timing = _untimed) -> None:
        self._clock, self._timing = clock, timing
        self._records: dict[str, _Record] = {}
        self._by_room: dict[str, str] = {}
        self.counts = SessionCounts()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def add(self, session: Session) -> None:
        holder = self.in_room(session.room_name)
        if holder is not None:
            gone_at = holder.end.cleaned_at if holder.end else None
            free_at = (self._clock() if gone_at is None else gone_at) + NAME_QUARANTINE
            if free_at > self._clock():
                raise RoomNameTaken(session.room_name, free_at - self._clock())
        self._records[session.session_id] = _Record(session)
        self._by_room[session.room_name] = session.session_id
        self.counts.enter(session)
        self._tell(Change(session.session_id, None, session))

    async def update(self, session_id: str, event: Event) -> Session:
        started = perf_counter()
        record = self._record(session_id)
        before = record.session
        session = apply(before, event)
        if session is not before:
            self.counts.leave(before)
            self.counts.enter(session)
            record.put(session)
            self._tell(Change(session_id, before, session, event))
        self._timing(perf_counter() - started)
        return session

    def remove(self, session_id: str) -> None:
        record = self._record(session_id)
        self.counts.leave(record.session)
        del self._records[session_id]
        if self._by_room.get(record.session.room_name) == session_id:
            del self._by_room[record.session.room_name]
        record.wake()
        self._tell(Change(session_id, record.session, None))

    def get(self, session_id: str) -> Session:
        return self._record(session_id).session

    def in_room(self, room_name: str) -> Session | None:
        session_id = self._by_room.get(room_name)
        return None if session_id is None else self._records[session_id].session

    def list(self) -> Iterator[Session]:
        return (record.session for record in list(self._records.values()))

    def in_use(self, service_id: str) -> int:
        return self.counts.in_use(service_id)

    @property
    def waiters(self) -> int:
        return sum(len(record.waiters) for record in self._records.values())

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        while True:
            record = self._record(session_id)
            if wanted(record.session):
                return record.session
            await record.change()

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                session = change.after or change.before
                log.exception("listener_fault", **(session.log_fields if session else {}))

    def _record(self, session_id: str) -> _Record:
        try:
            return self._records[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None
