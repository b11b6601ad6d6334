"""A store that keeps the sessions in memory, in one process, on one event loop.

`update` applies the event without an await between read and write, and wakes the waiters of that session.
"""

from __future__ import annotations

from time import perf_counter

from manager_agent.clock import Clock
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.mirror import Mirror
from manager_agent.store.mirrored_store import MirroredStore
from manager_agent.store.room_names import RoomNames
from manager_agent.store.store import Change, RoomNameTaken, Timing, untimed


class MemoryStore(MirroredStore):
    """The Store of one process."""

    def __init__(
        self,
        clock: Clock,
        timing: Timing = untimed,
        names: RoomNames | None = None,
        ended: EndedSessions | None = None,
    ) -> None:
        """`names`: the names that tokens reserve; those of other sessions than the stored ones too."""
        super().__init__(Mirror(clock, names, ended))
        self._timing = timing

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
