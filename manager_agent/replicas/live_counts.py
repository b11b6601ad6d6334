"""How many live sessions each replica has."""

from __future__ import annotations

from collections import Counter

from manager_agent.store.redis import RedisStore
from manager_agent.store.store import UnknownSession


class LiveCounts:
    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._owner_of: dict[str, str] = {}
        self.by_replica: Counter[str] = Counter()
        for session in store.list():
            self._look(session.session_id)
        store.listen(lambda change: self._look(change.session_id))
        store.listen_to_owners(lambda session_id, _before, _after: self._look(session_id))

    def _look(self, session_id: str) -> None:
        try:
            owner = None if self._store.get(session_id).over else self._store.ownership(session_id).owner
        except UnknownSession:
            owner = None
        before = self._owner_of.get(session_id)
        if owner == before:
            return
        if before is not None:
            self.by_replica[before] -= 1
            if not self.by_replica[before]:
                del self.by_replica[before]  # each start of a replica is another one
        if owner is None:
            self._owner_of.pop(session_id, None)
        else:
            self._owner_of[session_id] = owner
            self.by_replica[owner] += 1
