"""A store that passes every call on to another one. Stores with rules of their own override the calls they change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.store import Change, Listener, Store


class ForwardingStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def change(self, session_id: str, event: Event) -> Change:
        return await self._store.change(session_id, event)

    async def update(self, session_id: str, event: Event) -> Session:
        return (await self.change(session_id, event)).session

    async def remove(self, session_id: str) -> None:
        await self._store.remove(session_id)

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        await self._store.restore(session, recorded_revision)

    async def add(self, session: Session) -> None:
        await self._store.add(session)

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        return await self._store.wait_for(session_id, wanted)

    @property
    def counts(self) -> SessionCounts:
        return self._store.counts

    @property
    def waiters(self) -> int:
        return self._store.waiters

    @property
    def is_frozen(self) -> bool:
        return self._store.is_frozen

    def freeze(self) -> None:
        self._store.freeze()

    def listen(self, listener: Listener) -> None:
        self._store.listen(listener)

    def get(self, session_id: str) -> Session:
        return self._store.get(session_id)

    def in_room(self, room_name: str) -> Session | None:
        return self._store.in_room(room_name)

    def name_free_in(self, room_name: str, tenant: str) -> float:
        return self._store.name_free_in(room_name, tenant)

    def list(self) -> Iterator[Session]:
        return self._store.list()

    def newest(self, before: str | None = None) -> Iterator[Session]:
        return self._store.newest(before)
