"""The newest log entries about each session, in memory, for the timeline."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from http_api.observability.logs import LogEntry
from http_api.observability.logs.unwaited import UnwaitedLock
from manager_agent.store.store import Change

PER_SESSION = 200
"""The maximum number of entries kept per session."""
ENTRIES_MAX = 20_000
BYTES_MAX = 8 * 1024 * 1024
"""The maximum size of the entries of all sessions. Beyond it the oldest entries of the oldest session are dropped."""
LINE_MAX = 64 * 1024
"""Bytes. A longer entry is not kept, because it would displace hundreds of others."""
READS = frozenset({"GET", "HEAD"})


class RecentLogs:
    """`take` is a Sink and may be called in any thread; `follow` is a listener for the store."""

    def __init__(
        self, *, per_session: int = PER_SESSION, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        self._per_session, self._entries_max, self._bytes_max = per_session, entries_max, bytes_max
        self._lock = UnwaitedLock(self._keep)
        self._known: set[str] = set()
        """The ids of all sessions. Entries with other session ids are not kept."""
        self._lines: dict[str, deque[bytes]] = {}
        """By session, in order of each session's first entry: the JSON of its entries, oldest first. Never empty."""
        self.entries = self.bytes = 0
        """The number and size of the entries kept."""

    def take(self, entry: LogEntry) -> None:
        """Keep an entry if it is about a session."""
        session_id = entry.fields.get("session_id")
        if not isinstance(session_id, str) or _is_read_access(entry.fields):
            return
        self._lock.put((session_id, entry.line.encode()))

    def follow(self, change: Change) -> None:
        """Register a new session; drop the entries of a removed one. The health check's sessions have no owner, who
        could read their entries."""
        if not change.session.owner or (change.before is not None and change.after is not None):
            return
        with self._lock:
            if change.after is not None:
                self._known.add(change.session_id)
                return
            self._known.discard(change.session_id)
            lines = self._lines.pop(change.session_id, ())
            self.entries, self.bytes = self.entries - len(lines), self.bytes - sum(map(len, lines))

    def of(self, session_id: str) -> list[dict[str, Any]]:
        """The kept entries about a session, oldest first."""
        with self._lock:
            lines = tuple(self._lines.get(session_id, ()))
        return [json.loads(line) for line in lines]

    def _keep(self, item: tuple[str, bytes]) -> None:
        session_id, line = item
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


def _is_read_access(fields: Mapping[str, Any]) -> bool:
    """Whether the entry is about a request that only read the session. Clients that watch a session would otherwise
    fill its log with such entries."""
    event, is_read = fields["event"], fields.get("method") in READS
    return is_read and (event == "request_abandoned" or (event == "request" and fields.get("status", 500) < 400))


RECENT_LOGS = web.AppKey("RECENT_LOGS", RecentLogs)
