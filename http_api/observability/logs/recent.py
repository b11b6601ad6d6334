"""The newest entries of the log about each session, in memory, for whoever looks into what became of one."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from http_api.observability.logs import Entry
from http_api.observability.logs.unwaited import UnwaitedLock
from manager_agent.store.store import Change

PER_SESSION = 200
"""Entries that are kept of one session."""
ENTRIES_MAX = 20_000
BYTES_MAX = 8 * 1024 * 1024
"""Of all sessions. Beyond, the oldest entries of the oldest session give way."""
LINE_MAX = 64 * 1024
"""Bytes of one entry; a longer one is not kept, as it would push out hundreds of others."""
LOOKS = frozenset({"GET", "HEAD"})


class RecentLogs:
    """`take` is a Sink, called in any thread; `follow` is for the store's listen()."""

    def __init__(
        self, *, per_session: int = PER_SESSION, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._per_session, self._entries_max, self._bytes_max = per_session, entries_max, bytes_max
        self._lock = UnwaitedLock(self._keep)
        self._known: set[str] = set()
        """The ids of all sessions: what else calls itself one is not kept."""
        self._lines: dict[str, deque[bytes]] = {}
        """The JSON of each entry, oldest first, by session, the one that was first heard of first. None is empty."""
        self.entries = self.bytes = 0
        """How much is kept."""

    def take(self, entry: Entry) -> None:
        """Keeps an entry, if it is about a session."""
        session_id = entry.fields.get("session_id")
        if not isinstance(session_id, str) or _is_a_look(entry.fields):
            return
        self._lock.put((session_id, entry.line.encode()))

    def follow(self, change: Change) -> None:
        """A session is new, or forgotten, and with it what was logged about it."""
        if change.before is not None and change.after is not None:
            return
        with self._lock:
            if change.after is not None:
                self._known.add(change.session_id)
                return
            self._known.discard(change.session_id)
            lines = self._lines.pop(change.session_id, ())
            self.entries, self.bytes = self.entries - len(lines), self.bytes - sum(map(len, lines))

    def of(self, session_id: str) -> list[dict[str, Any]]:
        """The entries about a session that are kept, oldest first."""
        with self._lock:
            lines = tuple(self._lines.get(session_id, ()))
        return [json.loads(line) for line in lines]

    def _keep(self, told: tuple[str, bytes]) -> None:
        session_id, line = told
        if session_id not in self._known or len(line) > LINE_MAX:
            return
        lines = self._lines.setdefault(session_id, deque())
        lines.append(line)
        self.entries, self.bytes = self.entries + 1, self.bytes + len(line)
        if len(lines) > self._per_session:
            self._drop_oldest(session_id)
        while self.entries > self._entries_max or self.bytes > self._bytes_max:
            self._drop_oldest(next(iter(self._lines)))

    def _drop_oldest(self, session_id: str) -> None:
        lines = self._lines[session_id]
        self.entries, self.bytes = self.entries - 1, self.bytes - len(lines.popleft())
        if not lines:
            del self._lines[session_id]


def _is_a_look(fields: Mapping[str, Any]) -> bool:
    """Whether somebody merely looked at the session: whoever watches it would fill its log with that."""
    event, is_look = fields["event"], fields.get("method") in LOOKS
    return is_look and (event == "request_abandoned" or (event == "request" and fields.get("status", 500) < 400))


RECENT_LOGS = web.AppKey("RECENT_LOGS", RecentLogs)
