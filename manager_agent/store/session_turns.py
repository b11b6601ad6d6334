"""Lets this replica write a session once at a time."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class SessionTurns:
    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of the sessions that are being written: one for each that is stored would be too many objects."""

    def of(self, session_id: str) -> asyncio.Lock:
        lock = self._locks.get(session_id)
        if lock is None:
            lock = self._locks[session_id] = asyncio.Lock()
        return lock
