"""The fencing number with which this replica acts for a session: room_acts.py asks for it before each act on a room."""

from __future__ import annotations

from manager_agent.not_acting import NotActing
from manager_agent.replicas.membership import Membership
from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession


class Fences:
    def __init__(self, store: RedisStore, membership: Membership) -> None:
        self._store, self._membership = store, membership

    def of(self, session_id: str) -> int | None:
        """None for a session that is unknown here or cleaned up: only the leader acts on what LiveKit still has of it.
        Raises NotActing if another replica acts for the session, or may do so by now."""
        try:
            if self._store.get(session_id).is_cleaned_up:
                return None
            ownership = self._store.ownership(session_id)
        except UnknownSession:
            return None
        if ownership.owner != self._store.replica_id:
            raise NotActing("another replica acts for this session")
        if not self._membership.may_act:  # it may have been frozen until now
            raise NotActing("this replica's lease has lapsed")
        return ownership.fence

    def known(self, session_id: str) -> int | None:
        """The latest one, whichever replica it is of; None: the session is unknown here."""
        try:
            return self._store.ownership(session_id).fence
        except UnknownSession:
            return None
