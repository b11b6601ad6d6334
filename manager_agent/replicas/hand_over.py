"""Hands sessions over to other replicas, in order: what this one does for the session ends before the other one begins,
and the other one's manager comes before this one's leaves."""

from __future__ import annotations

import asyncio

import structlog

from manager_agent.livekit.room_acts import RoomActs
from manager_agent.redis.connection import RedisAway
from manager_agent.replicas.membership import Membership, uptime
from manager_agent.session.session import Session
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession
from manager_agent.store.stored_session import Ownership, TakeIf

log = structlog.get_logger()

ARRIVAL_TIMEOUT = 10.0
"""Seconds after which a manager that did not come is not waited for any more."""
FINISH_TIMEOUT = 1.0
"""The most seconds for which what is under way is waited for. If it takes longer, the session stays for now."""
PAUSE = 0.25
"""Seconds until Redis is asked again that did not answer."""


class HandOver:
    def __init__(self, store: RedisStore, membership: Membership, acts: RoomActs) -> None:
        self._store, self._membership, self._acts = store, membership, acts
        self._sent: dict[str, tuple[str | None, float]] = {}
        """The sessions whose next managers are awaited: the identity of the one from here, and until when."""

    async def give(self, session: Session, replica_id: str) -> bool:
        """Make another replica the owner, if it takes sessions. Returns whether that was done. Raises RedisAway."""
        session_id = session.session_id
        if not self._membership.may_act or not self._store.owns(session_id):
            return False
        try:
            before = self._store.ownership(session_id)
            async with self._acts.held(session_id, FINISH_TIMEOUT):
                if not await self._is_given(session_id, before, replica_id):
                    return False
            fence = self._store.ownership(session_id).fence
        except (UnknownSession, TimeoutError):
            return False
        if not session.over:
            self._sent[session_id] = session.manager.identity, uptime() + ARRIVAL_TIMEOUT
        log.info("session_handed_over", session_id=session_id, owner=replica_id, fence=fence)
        return True

    async def _is_given(self, session_id: str, before: Ownership, replica_id: str) -> bool:
        """If Redis does not answer, the session may be the other one's by now. So it is asked again until that is
        known, or this replica may not act any more. Raises RedisAway, UnknownSession."""
        while True:
            try:
                given = await self._store.take(
                    session_id, expected=before, owner=replica_id, only_if=TakeIf.TAKER_STAYS
                )
            except RedisAway:
                if not self._membership.may_act:
                    raise
                await asyncio.sleep(PAUSE)
                continue
            return given or self._store.ownership(session_id).fence > before.fence

    @property
    def awaited(self) -> int:
        """How many sessions that were handed over wait for the other replica's manager."""
        self._sent = {each: sent for each, sent in self._sent.items() if self._is_awaited(each, *sent)}
        return len(self._sent)

    def _is_awaited(self, session_id: str, manager: str | None, until: float) -> bool:
        try:
            session = self._store.get(session_id)
        except UnknownSession:
            return False
        has_next = session.manager.identity != manager and session.manager.presence.here
        return not session.over and not has_next and uptime() < until
