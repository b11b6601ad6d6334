"""The store for what runs in the background: while Redis is away it waits, where a request would be refused.

What is observed in a room, and what came of an action, is recorded once Redis is back. Whether the beginning of an
action was recorded before its answer was lost can't be told from the session afterwards: then the action is not begun,
and its control loop ends, to be begun anew (ownership.py).
"""

from __future__ import annotations

import asyncio

from manager_agent.not_acting import NotActing
from manager_agent.redis.connection import RedisAway
from manager_agent.session import events as ev
from manager_agent.session.session import Session
from manager_agent.store.forwarding_store import ForwardingStore
from manager_agent.store.store import Change, Store

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


class PatientStore(ForwardingStore):
    """Only `change`, `remove` and `restore` differ from those of `store`."""

    def __init__(self, store: Store, *, pause: float = PAUSE) -> None:
        super().__init__(store)
        self._pause = pause

    async def change(self, session_id: str, event: ev.Event) -> Change:
        while True:
            try:
                return await self._store.change(session_id, event)
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
