"""The bound on ended sessions that are kept to be read: per caller and in all."""

from __future__ import annotations

from collections.abc import Iterator

PER_CALLER, IN_ALL = 1_000, 5_000


class EndedSessions:
    """The ids of ended sessions whose clean-up is done, by caller, oldest first."""

    def __init__(self, *, per_caller: int = PER_CALLER, in_all: int = IN_ALL) -> None:
        self._per_caller, self._in_all = per_caller, in_all
        self._ids: dict[str, dict[str, None]] = {}
        self._count = 0

    def add(self, owner: str, session_id: str) -> None:
        self._ids.setdefault(owner, {})[session_id] = None
        self._count += 1

    def discard(self, owner: str, session_id: str) -> None:
        ids = self._ids.get(owner, {})
        if session_id in ids:
            del ids[session_id]
            self._count -= 1
            if not ids:
                del self._ids[owner]

    def excess(self, owner: str) -> Iterator[str]:
        """The sessions to forget after one of this caller was added; the receiver removes each before it takes the
        next. In all, the caller with the most loses its oldest, so that one caller can't make others' be forgotten."""
        while len(self._ids.get(owner, ())) > self._per_caller:
            yield next(iter(self._ids[owner]))
        while self._count > self._in_all:
            most = max(self._ids, key=lambda each: len(self._ids[each]))
            yield next(iter(self._ids[most]))
