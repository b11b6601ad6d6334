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
from manager_agent.not_acting import NotActing
from manager_agent.records.memory import MemoryRecords
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Change, Listener, RoomNameTaken, UnknownSession

log = structlog.get_logger()

CLEAN_UP_EXPECTED = 1.0
"""Seconds in which a room is usually deleted."""
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


def _held_for(holder: Session, tenant: str, now: float) -> float:
    """The seconds for which the last session of a room still holds the name."""
    if holder.end is None:
        return NAME_QUARANTINE
    if holder.room.taken:
        return 0.0  # the name is another room's
    if holder.end.cleaned_at is None:
        return CLEAN_UP_EXPECTED if holder.tenant == tenant else NAME_QUARANTINE
    is_free = holder.tenant == tenant and holder.end.was_cleaned_promptly
    return 0.0 if is_free else holder.end.cleaned_at + NAME_QUARANTINE - now


def _untimed(_: float) -> None:
    """Measure nothing."""


class MemoryStore:
    """The Store of one process."""

    def __init__(
        self,
        clock: Clock,
        timing: Timing = _untimed,
        names: RoomNames | None = None,
        ended: EndedSessions | None = None,
    ) -> None:
        """`names`: the names that tokens reserve; those of other sessions than the stored ones too."""
        self._clock, self._timing = clock, timing
        self._names, self._ended = names or RoomNames(MemoryRecords(clock)), ended or EndedSessions()
        self._quarantined: dict[str, float] = {}
        """When the names of forgotten sessions' rooms are free again, oldest first."""
        self._records: dict[str, _Record] = {}
        self._by_room: dict[str, str] = {}
        self.counts = SessionCounts()
        self._listeners: list[Listener] = []
        self.is_frozen = False

    def freeze(self) -> None:
        self.is_frozen = True
        for record in self._records.values():
            record.wake()

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def add(self, session: Session) -> None:
        self._refuse_when_frozen()
        if (wait := self.name_free_in(session.room_name, session.tenant)) > 0:
            raise RoomNameTaken(session.room_name, wait)
        self._keep(session)
        self._tell(Change(session.session_id, None, session))

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        self._keep(session)
        self._tell(Change(session.session_id, None, session, is_restored=True, recorded_revision=recorded_revision))
        if session.is_cleaned_up:
            self._bound_ended(session)

    def _keep(self, session: Session) -> None:
        self._records[session.session_id] = _Record(session)
        self._by_room[session.room_name] = session.session_id
        self.counts.enter(session)

    async def update(self, session_id: str, event: Event) -> Session:
        started = perf_counter()
        record = self._record(session_id)
        self._refuse_when_frozen()
        before = record.session
        session = apply(before, event)
        if session is not before:
            self.counts.leave(before)
            self.counts.enter(session)
            record.put(session)
            self._tell(Change(session_id, before, session, event))
            if session.is_cleaned_up and not before.is_cleaned_up:
                self._bound_ended(session)
        self._timing(perf_counter() - started)
        return session

    async def remove(self, session_id: str) -> None:
        self._remove(session_id)

    def _remove(self, session_id: str) -> None:
        record = self._record(session_id)
        self.counts.leave(record.session)
        self._ended.discard(record.session.owner, session_id)
        del self._records[session_id]
        if self._by_room.get(record.session.room_name) == session_id:
            del self._by_room[record.session.room_name]
        record.wake()
        self._tell(Change(session_id, record.session, None))

    def _bound_ended(self, session: Session) -> None:
        """Forget ended sessions if there are too many with this one."""
        self._ended.add(session.owner, session.session_id)
        for oldest in self._ended.excess(session.owner):
            self._forget(oldest)

    def _forget(self, session_id: str) -> None:
        """Remove an ended session before its time. The name of its room stays in quarantine."""
        now, session = self._clock(), self.get(session_id)
        while self._quarantined and next(iter(self._quarantined.values())) <= now:
            del self._quarantined[next(iter(self._quarantined))]
        if self._by_room.get(session.room_name) == session_id and session.end and session.end.cleaned_at is not None:
            self._quarantined[session.room_name] = session.end.cleaned_at + NAME_QUARANTINE
        self._remove(session_id)

    def get(self, session_id: str) -> Session:
        return self._record(session_id).session

    def in_room(self, room_name: str) -> Session | None:
        session_id = self._by_room.get(room_name)
        return None if session_id is None else self._records[session_id].session

    def name_free_in(self, room_name: str, tenant: str) -> float:
        holder, reserved = self.in_room(room_name), self._names.reserved_for(room_name, tenant)
        now = self._clock()
        held = self._quarantined.get(room_name, now) - now if holder is None else _held_for(holder, tenant, now)
        return max(reserved, held)

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
            self._refuse_when_frozen()
            await record.change()

    def _refuse_when_frozen(self) -> None:
        if self.is_frozen:
            raise NotActing("another process of this deployment has taken over")

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
