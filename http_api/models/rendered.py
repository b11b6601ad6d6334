"""A cache of sessions rendered as JSON, each rendered once per revision for all readers."""

from __future__ import annotations

from aiohttp import web

from http_api.models.responses import SessionView
from manager_agent.session.session import Session
from manager_agent.store.store import Change

CHARACTERS_MAX = 8 * 1024 * 1024
"""The maximum size of the cache in characters: several thousand sessions. The oldest entries are evicted first, and
rendered again when needed."""


class RenderedSessions:
    def __init__(self, characters_max: int = CHARACTERS_MAX) -> None:
        self._max = characters_max
        self._kept: dict[str, tuple[int, str]] = {}
        """Revision and JSON, by session id."""
        self.characters = 0
        """The size of the cache."""

    def of(self, session: Session) -> str:
        """The JSON of the session's SessionView, on one line."""
        kept = self._kept.get(session.session_id)
        if kept is not None and kept[0] == session.revision:
            return kept[1]
        made = SessionView.json_of(session)
        self.forget(session.session_id)
        self._kept[session.session_id] = (session.revision, made)
        self.characters += len(made)
        while self.characters > self._max:
            self.forget(next(iter(self._kept)))
        return made

    def follow(self, change: Change) -> None:
        """A listener for the store: forget a session that was removed, or that may be another under the same revision.
        It may be if Redis has lost a write that was shown here, and another replica has written since."""
        before, after = change.before, change.after
        may_be_another = (
            change.is_remote and before is not None and after is not None and after.revision <= before.revision
        )
        if after is None or may_be_another:
            self.forget(change.session_id)

    def forget(self, session_id: str) -> None:
        kept = self._kept.pop(session_id, None)
        if kept is not None:
            self.characters -= len(kept[1])


RENDERED_SESSIONS = web.AppKey("RENDERED_SESSIONS", RenderedSessions)
"""For every response and stream with sessions: clients ask for theirs again and again, and all follow the same."""
