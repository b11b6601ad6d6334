"""The store for what acts for one session: its control loop, its watcher.

It changes the session only as long as this replica owns it without interruption. A task that began before another
replica acted does not know what that has done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from manager_agent.not_acting import NotActing
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.forwarding_store import ForwardingStore
from manager_agent.store.store import Change, Store
from manager_agent.store.stored_session import Ownership

NOT_OWNER = "another replica acts for this session"


class OwnableStore(Store, Protocol):
    """What it needs of redis.py."""

    def ownership(self, session_id: str) -> Ownership: ...

    async def change_owned(self, session_id: str, event: Event, begun: Ownership | None) -> Change: ...


class OwnedStore(ForwardingStore):
    """`change`, `remove` and `wait_for` raise NotActing once the session is owned otherwise than at the beginning."""

    def __init__(self, store: OwnableStore, session_id: str, ownership: Ownership) -> None:
        super().__init__(store)
        self._owners, self._session_id, self._ownership = store, session_id, ownership

    def _require_owner(self, session_id: str) -> None:
        """Raises NotActing, and UnknownSession once the session is removed."""
        if session_id != self._session_id or self._owners.ownership(session_id) != self._ownership:
            raise NotActing(NOT_OWNER)

    async def change(self, session_id: str, event: Event) -> Change:
        self._require_owner(session_id)
        return await self._owners.change_owned(session_id, event, self._ownership)

    async def remove(self, session_id: str) -> None:
        self._require_owner(session_id)
        await self._store.remove(session_id)

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        def is_wanted(session: Session) -> bool:
            self._require_owner(session_id)  # it is looked at again when the owner changes
            return wanted(session)

        return await self._store.wait_for(session_id, is_wanted)
