"""Hands sessions over to other replicas, in order: the other one's manager comes before this one's leaves."""

from __future__ import annotations

import structlog

from manager_agent.replicas.membership import Membership, uptime
from manager_agent.session.session import Session
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession

log = structlog.get_logger()

ARRIVAL_TIMEOUT = 10.0
"""Seconds after which a manager that did not come is not waited for any more."""


class HandOver:
    def __init__(self, store: RedisStore, membership: Membership) -> None:
        self._store, self._membership = store, membership
        self._sent: dict[str, tuple[str | None, float]] = {}
        """The sessions whose next managers are awaited: the identity of the one from here, and until when."""

    async def give(self, session: Session, replica_id: str) -> bool:
        """Make another replica the owner. Returns whether it is. Raises RedisAway."""
        session_id = session.session_id
        if not self._membership.may_act or not self._store.owns(session_id):
            return False
        try:
            before = self._store.ownership(session_id)
            if not await self._store.take(session_id, expected=before, owner=replica_id):
                return False
        except UnknownSession:
            return False
        if not session.over:
            self._sent[session_id] = session.manager.identity, uptime() + ARRIVAL_TIMEOUT
        log.info("session_handed_over", session_id=session_id, owner=replica_id, fence=before.fence + 1)
        return True

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
