"""The store for what runs in the background: while Redis is away it waits, where a request would be refused.

What is observed in a room, and what came of an action, is recorded once Redis is back. Whether the beginning of an
action was recorded before its answer was lost can't be told from the session afterwards: then the action is not begun,
and its control loop ends, to be begun anew (ownership.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.session import events as ev
from manager_agent.session.counts import SessionCounts
from manager_agent.session.session import Session
from manager_agent.store.store import Listener, Store

PAUSE = 0.5
"""Seconds until Redis is tried again."""
BEGINNINGS = (
    ev.RoomRequested,
    ev.ManagerDispatched,
    ev.InviteStarted,
    ev.RemovalStarted,
    ev.ListingStarted,
    ev.CleanUpStarted,
)
"""The events that are recorded before an action, and that are not recorded if another task was first."""


class PatientStore:
    """Only `update`, `remove` and `restore` differ from those of `store`."""

    def __init__(self, store: Store, *, pause: float = PAUSE) -> None:
        self._store, self._pause = store, pause

    async def update(self, session_id: str, event: ev.Event) -> Session:
        while True:
            try:
                return await self._store.update(session_id, event)
            except RedisAway as away:
                if away.is_uncertain and isinstance(event, BEGINNINGS):
                    raise NotActing("Redis did not say whether the action may begin") from away
            await asyncio.sleep(self._pause)

    async def remove(self, session_id: str) -> None:
        while True:
            try:
                return await self._store.remove(session_id)
            except RedisAway:
                await asyncio.sleep(self._pause)

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        while True:
            try:
                return await self._store.restore(session, recorded_revision)
            except RedisAway:
                await asyncio.sleep(self._pause)

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

    def in_use(self, service_id: str) -> int:
        return self._store.in_use(service_id)
