"""Compares the mirror with everything that is stored, at the start and whenever changes may have been missed.

Writes of this replica go on meanwhile. So a session that seems to have gone back or away is read once more, until no
write of this replica was under way in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import structlog

from manager_agent.redis.connection import RedisConnection
from manager_agent.store.replicated_sessions import KnownSession, ReplicatedSessions
from manager_agent.store.session_scripts import SessionScripts
from manager_agent.store.stored_session import StoredSession

log = structlog.get_logger()

IDS_AT_ONCE, SESSIONS_AT_ONCE = 1_000, 50


class ReadingAnew:
    def __init__(self, connection: RedisConnection, scripts: SessionScripts, sessions: ReplicatedSessions) -> None:
        self._connection, self._scripts, self._sessions = connection, scripts, sessions

    async def read_anew(self) -> None:
        """Raises RedisAway."""
        doubted = set(self._sessions.ids)
        for batch in _batches(await self._ids(), SESSIONS_AT_ONCE):
            for session_id, stored in zip(batch, await self._scripts.read(batch), strict=True):
                match stored:
                    case StoredSession() if self._is_in_order(stored):
                        doubted.discard(session_id)
                        self._sessions.advance(stored, is_read_anew=True)
                    case ValueError():
                        log.warning("session_unreadable", session_id=session_id, why=str(stored))
        for session_id in doubted:
            await self._settle(session_id)
        for session_id in set(self._sessions.unreadable):
            await self._settle(session_id)

    async def _ids(self) -> Sequence[str]:
        """All sessions, oldest first."""
        created: dict[str, float] = {}
        cursor = 0
        while True:
            answer, found = await self._connection.call(
                "ZSCAN", self._connection.keys.sessions, cursor, "COUNT", IDS_AT_ONCE
            )
            created.update((one.decode(), float(score)) for one, score in zip(found[::2], found[1::2], strict=True))
            if (cursor := int(answer)) == 0:
                return sorted(created, key=created.__getitem__)

    def _is_in_order(self, stored: StoredSession) -> bool:
        """Whether it is what is known, or a later version."""
        known = self._sessions.find(stored.session_id)
        return known is None or stored.version > known.version or _is_known(known, stored)

    async def _settle(self, session_id: str) -> None:
        """Take what is stored of a session, although something later was known of it."""
        while True:
            known = self._sessions.find(session_id)
            version, is_quiet = (0, True) if known is None else (known.version, not known.is_being_written)
            (stored,) = await self._scripts.read([session_id])
            known = self._sessions.find(session_id)
            if isinstance(stored, StoredSession) and self._is_in_order(stored):
                self._sessions.advance(stored, is_read_anew=True)
                return
            if not is_quiet or (known is not None and (known.is_being_written or known.version != version)):
                continue  # by now there may be something else
            if isinstance(stored, StoredSession):
                self._sessions.replace(stored)
            elif stored is None:
                self._sessions.lost(session_id)
            return


def _is_known(known: KnownSession, stored: StoredSession) -> bool:
    return (known.version, known.write) == (stored.version, stored.write)


def _batches(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    remaining = iter(ids)
    while batch := list(islice(remaining, size)):
        yield batch
