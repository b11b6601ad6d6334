"""What a store knows in this process: every session, who waits for its next change, and which session has which room.

Reads are synchronous and search nothing. The stores decide what changes and put it here: memory.py by itself, redis.py
as Redis says.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

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
        self._sessions: dict[str, Session] = {}
        self._sorted_ids: list[str] = []
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        """A future for each caller that waits for the next change of a session."""
        self._by_room: dict[str, str] = {}
        self._listeners: list[Listener] = []
        self.counts = SessionCounts()
        self.is_frozen = False

    # --- changes ------------------------------------------------------------------------------------

    def put(self, change: Change, *, has_name: bool = True) -> None:
        """Keep the session of a change, remove it if the change says so, and tell the listeners. `has_name`: whether a
        new session is the last to have its room name."""
        session, before = change.after, self._sessions.get(change.session_id)
        self.counts.count(before, session)
        if session is None:
            self._remove(change.session)
        else:
            if session.is_cleaned_up and not (before and before.is_cleaned_up):
                self._ended.add(session.owner, session.session_id)
            self._sessions[session.session_id] = session
            if before is None:
                insort(self._sorted_ids, session.session_id)
                if has_name:
                    self._by_room[session.room_name] = session.session_id
        self.wake(change.session_id)
        self._tell(change)

    def _remove(self, session: Session) -> None:
        del self._sessions[session.session_id]
        del self._sorted_ids[bisect_left(self._sorted_ids, session.session_id)]
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
        for waiter in self._waiters.pop(session_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def freeze(self) -> None:
        self.is_frozen = True
        for session_id in list(self._waiters):
            self.wake(session_id)

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
        return session_id in self._sessions

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None

    def in_room(self, room_name: str) -> Session | None:
        session_id = self._by_room.get(room_name)
        return None if session_id is None else self._sessions[session_id]

    def list(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def newest(self, before: str | None = None) -> Iterator[Session]:
        end = len(self._sorted_ids) if before is None else bisect_left(self._sorted_ids, before)
        return (self._sessions[self._sorted_ids[nth]] for nth in range(end - 1, -1, -1))

    @property
    def waiters(self) -> int:
        return sum(map(len, self._waiters.values()))

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Raises UnknownSession, NotActing. Each waiter has its own future: cancelling a waiter of a shared one would
        search all of its callbacks."""
        while not wanted(session := self.get(session_id)):
            self.refuse_when_frozen()
            waiter = asyncio.get_running_loop().create_future()
            waiters = self._waiters.setdefault(session_id, set())
            waiters.add(waiter)
            try:
                await waiter
            finally:
                waiters.discard(waiter)
                if not waiters and self._waiters.get(session_id) is waiters:
                    del self._waiters[session_id]
        return session
