"""The store for what acts for one session: its control loop, its watcher.

It changes the session only as long as this replica owns it without interruption. A task that began before another
replica acted does not know what that has done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from manager_agent.not_acting import NotActing
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.store import Listener, Store, UnknownSession
from manager_agent.store.stored_session import Ownership

NOT_OWNER = "another replica acts for this session"


class OwnableStore(Store, Protocol):
    """What it needs of redis.py."""

    def ownership(self, session_id: str) -> Ownership: ...

    async def update_owned(self, session_id: str, event: Event, begun: Ownership | None) -> Session: ...


class OwnedStore:
    """`update`, `remove` and `wait_for` raise NotActing once the session is owned otherwise than at the beginning."""

    def __init__(self, store: OwnableStore, session_id: str, ownership: Ownership) -> None:
        self._store, self._session_id, self._ownership = store, session_id, ownership

    @property
    def is_owner(self) -> bool:
        try:
            return self._store.ownership(self._session_id) == self._ownership
        except UnknownSession:
            return False

    def _require_owner(self, session_id: str) -> None:
        """Raises NotActing, and UnknownSession once the session is removed."""
        if session_id != self._session_id or self._store.ownership(session_id) != self._ownership:
            raise NotActing(NOT_OWNER)

    async def update(self, session_id: str, event: Event) -> Session:
        self._require_owner(session_id)
        return await self._store.update_owned(session_id, event, self._ownership)

    async def remove(self, session_id: str) -> None:
        self._require_owner(session_id)
        await self._store.remove(session_id)

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        def is_wanted(session: Session) -> bool:
            self._require_owner(session_id)  # it is looked at again when the owner changes
            return wanted(session)

        return await self._store.wait_for(session_id, is_wanted)

    async def add(self, session: Session) -> None:
        await self._store.add(session)

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        await self._store.restore(session, recorded_revision)

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

    def in_use(self, service_id: str) -> int:
        return self._store.in_use(service_id)
