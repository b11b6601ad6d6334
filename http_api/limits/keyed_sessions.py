"""The sessions that a request with an Idempotency-Key may have opened before, found without a search of all."""

from __future__ import annotations

from aiohttp import web

from http_api.limits.key_marks import KeyMark, key_part
from manager_agent.session.session import Session
from manager_agent.store.store import Change, Store


class KeyedSessions:
    """`tell` is a listener for the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, set[str]] = {}
        """The ids of all sessions, by their part for the key."""

    def tell(self, change: Change) -> None:
        if change.before is not None and change.after is not None:
            return
        part = key_part(change.session_id)
        if change.after is not None:
            self._ids.setdefault(part, set()).add(change.session_id)
        elif (ids := self._ids.get(part)) is not None:
            ids.discard(change.session_id)
            if not ids:
                del self._ids[part]

    def of(self, mark: KeyMark) -> list[Session]:
        """Those that requests with the same key may have opened, oldest first."""
        return [self._store.get(session_id) for session_id in sorted(self._ids.get(mark.of_key, ()))]


KEYED_SESSIONS = web.AppKey("KEYED_SESSIONS", KeyedSessions)
