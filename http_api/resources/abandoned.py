"""Sessions whose client disconnected while it waited for its token, and that only this client could find again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

from manager_agent.control.orchestrator import Orchestrator
from manager_agent.session.session import Session
from manager_agent.store.store import Store, UnknownSession
from manager_agent.tasks import Tasks

KEPT = 10.0
"""Seconds for which such a session is kept. HTTP clients give up after a time of their own (OkHttp, on Android, after
10 s), and then ask again."""


@dataclass(frozen=True, slots=True)
class AbandonedSessions:
    store: Store
    orchestrator: Orchestrator
    tasks: Tasks
    _kept: dict[Hashable, list[str]] = field(default_factory=lambda: defaultdict(list))

    def keep(self, session_id: str, request: Hashable | None) -> None:
        """Keep the session for the next client with the same request, or end it at once if there is no request."""
        self.tasks.spawn(self._end(session_id, request), name=f"{session_id} give up")

    def take(self, request: Hashable) -> Session | None:
        """A session that an earlier client with the same request abandoned, if any is alive."""
        while kept := self._kept.get(request):
            session_id = kept[0]
            self._forget(session_id, request)
            try:
                session = self.store.get(session_id)
            except UnknownSession:
                continue
            if not session.over:
                return session
        return None

    async def _end(self, session_id: str, request: Hashable | None) -> None:
        if request is not None:
            self._kept[request].append(session_id)
            await asyncio.sleep(KEPT)
            if not self._forget(session_id, request):
                return
        try:
            await self.orchestrator.close(session_id, client_gone=True)
        except UnknownSession:
            return  # refused at the same moment

    def _forget(self, session_id: str, request: Hashable) -> bool:
        """Keep the session no longer. Returns whether it was kept."""
        kept = self._kept.get(request, [])
        if session_id not in kept:
            return False
        kept.remove(session_id)
        if not kept:
            del self._kept[request]
        return True
