"""What a store knows in this process: every session, who waits for its next change, and which session has which room.

Reads are synchronous and search nothing. The stores decide what changes and put it here: memory.py by itself, redis.py
as Redis says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.records.memory import MemoryRecords
from manager_agent.session.counts import SessionCounts
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Change, Listener, UnknownSession

log = structlog.get_logger()

CLEAN_UP_EXPECTED = 1.0
"""Seconds in which a room is usually deleted."""
FROZEN = "another process of this deployment has taken over"


@dataclass(slots=True)
class _Record:
    """A session, and a future for each caller that waits for its next change."""

    session: Session
    waiters: set[asyncio.Future[None]] = field(default_factory=set)

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


class Mirror:
    def __init__(self, clock: Clock, names: RoomNames | None = None, ended: EndedSessions | None = None) -> None:
        """`names`: the names that tokens reserve; those of other sessions than the stored ones too."""
        self._clock = clock
        self._names, self._ended = names or RoomNames(MemoryRecords(clock)), ended or EndedSessions()
        self._quarantined: dict[str, float] = {}
        """When the names of forgotten sessions' rooms are free again, oldest first."""
        self._records: dict[str, _Record] = {}
        self._by_room: dict[str, str] = {}
        self._listeners: list[Listener] = []
        self.counts = SessionCounts()
        self.is_frozen = False

    # --- changes ------------------------------------------------------------------------------------

    def put(self, change: Change, *, has_name: bool = True) -> None:
        """Keep the session of a change, remove it if the change says so, and tell the listeners. `has_name`: whether a
        new session is the last to have its room name."""
        session, record = change.after, self._records.get(change.session_id)
        if record is not None:
            self.counts.leave(record.session)
        if session is None:
            self._remove(change.session)
        else:
            self.counts.enter(session)
            if session.is_cleaned_up and not (record and record.session.is_cleaned_up):
                self._ended.add(session.owner, session.session_id)
            self._keep(session, record, has_name=has_name)
        if record is not None:
            record.wake()
        self._tell(change)

    def _keep(self, session: Session, record: _Record | None, *, has_name: bool) -> None:
        if record is not None:
            record.session = session
            return
        self._records[session.session_id] = _Record(session)
        if has_name:
            self._by_room[session.room_name] = session.session_id

    def _remove(self, session: Session) -> None:
        del self._records[session.session_id]
        self._ended.discard(session.owner, session.session_id)
        if self._by_room.get(session.room_name) == session.session_id:
            del self._by_room[session.room_name]
            if (free_at := self.quarantined_until(session)) is not None:
                self._quarantine(session.room_name, free_at)

    def excess(self, owner: str) -> Iterator[str]:
        """The ended sessions to remove, as there are too many with those of this caller (EndedSessions.excess)."""
        return self._ended.excess(owner)

    def wake(self, session_id: str) -> None:
        """Let those who wait for the session look at it again."""
        if (record := self._records.get(session_id)) is not None:
            record.wake()

    def freeze(self) -> None:
        self.is_frozen = True
        for record in self._records.values():
            record.wake()

    def refuse_when_frozen(self) -> None:
        """Raises NotActing."""
        if self.is_frozen:
            raise NotActing(FROZEN)

    # --- listeners ----------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.exception("listener_fault", **change.session.log_fields)

    # --- room names ---------------------------------------------------------------------------------

    def quarantined_until(self, session: Session) -> float | None:
        """When the room name of a session is free again that is removed now; None if it is free."""
        end = session.end
        if end is None or end.cleaned_at is None or session.room.taken:
            return None
        free_at = end.cleaned_at + NAME_QUARANTINE
        return free_at if free_at > self._clock() else None

    def _quarantine(self, room_name: str, free_at: float) -> None:
        now = self._clock()
        while self._quarantined and next(iter(self._quarantined.values())) <= now:
            del self._quarantined[next(iter(self._quarantined))]
        self._quarantined[room_name] = free_at

    def name_free_in(self, room_name: str, tenant: str) -> float:
        holder, reserved = self.in_room(room_name), self._names.reserved_for(room_name, tenant)
        now = self._clock()
        held = self._quarantined.get(room_name, now) - now if holder is None else _held_for(holder, tenant, now)
        return max(reserved, held)

    # --- reads --------------------------------------------------------------------------------------

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._records

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession."""
        return self._record(session_id).session

    def in_room(self, room_name: str) -> Session | None:
        session_id = self._by_room.get(room_name)
        return None if session_id is None else self._records[session_id].session

    def list(self) -> Iterator[Session]:
        return (record.session for record in list(self._records.values()))

    @property
    def waiters(self) -> int:
        return sum(len(record.waiters) for record in self._records.values())

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Raises UnknownSession, NotActing."""
        while True:
            record = self._record(session_id)
            if wanted(record.session):
                return record.session
            self.refuse_when_frozen()
            await record.change()

    def _record(self, session_id: str) -> _Record:
        try:
            return self._records[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None
