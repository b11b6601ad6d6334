"""A store that keeps the sessions in memory, in one process, on one event loop.

`update` applies the event without an await between read and write, and wakes the waiters of that session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

from manager_agent.clock import Clock
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.mirror import Mirror
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Change, Listener, RoomNameTaken, Timing, untimed


class MemoryStore:
    """The Store of one process."""

    def __init__(
        self,
        clock: Clock,
        timing: Timing = untimed,
        names: RoomNames | None = None,
        ended: EndedSessions | None = None,
    ) -> None:
        """`names`: the names that tokens reserve; those of other sessions than the stored ones too."""
        self._timing = timing
        self._mirror = Mirror(clock, names, ended)

    @property
    def counts(self) -> SessionCounts:
        return self._mirror.counts

    @property
    def waiters(self) -> int:
        return self._mirror.waiters

    @property
    def is_frozen(self) -> bool:
        return self._mirror.is_frozen

    def freeze(self) -> None:
        self._mirror.freeze()

    def listen(self, listener: Listener) -> None:
        self._mirror.listen(listener)

    async def add(self, session: Session) -> None:
        self._mirror.refuse_when_frozen()
        if (wait := self.name_free_in(session.room_name, session.tenant)) > 0:
            raise RoomNameTaken(session.room_name, wait)
        self._mirror.put(Change(session.session_id, None, session))

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        change = Change(session.session_id, None, session, is_restored=True, recorded_revision=recorded_revision)
        self._put(change)

    async def change(self, session_id: str, event: Event) -> Change:
        started = perf_counter()
        before = self.get(session_id)
        self._mirror.refuse_when_frozen()
        change = Change(session_id, before, apply(before, event), event)
        if not change.changes_nothing:
            self._put(change)
        self._timing(perf_counter() - started)
        return change

    async def update(self, session_id: str, event: Event) -> Session:
        return (await self.change(session_id, event)).session

    async def remove(self, session_id: str) -> None:
        self._remove(session_id)

    def _put(self, change: Change) -> None:
        """Make a change, and forget ended sessions if there are too many with this one."""
        self._mirror.put(change)
        if change.ends_clean_up:
            for oldest in self._mirror.excess(change.session.owner):
                self._remove(oldest)

    def _remove(self, session_id: str) -> None:
        self._mirror.put(Change(session_id, self.get(session_id), None))

    def get(self, session_id: str) -> Session:
        return self._mirror.get(session_id)

    def in_room(self, room_name: str) -> Session | None:
        return self._mirror.in_room(room_name)

    def name_free_in(self, room_name: str, tenant: str) -> float:
        return self._mirror.name_free_in(room_name, tenant)

    def list(self) -> Iterator[Session]:
        return self._mirror.list()

    def in_use(self, service_id: str) -> int:
        return self.counts.in_use(service_id)

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        return await self._mirror.wait_for(session_id, wanted)
