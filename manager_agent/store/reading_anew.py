"""Compares the mirror with everything that is stored, at the start and whenever changes may have been missed.

Writes of this replica go on meanwhile. So a session that seems to have gone back or away is read once more, until no
write of this replica was under way in between.

Redis may have lost what it had: it was emptied, or another server went on that did not have the latest writes. Then the
replicas put back what they know. Each begins with its own sessions, whose latest version it certainly has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import uniform

import structlog

from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.store.mirror import Mirror
from manager_agent.store.replicated_sessions import MirroredSession, ReplicatedSessions
from manager_agent.store.session_scripts import SessionScripts, Status, Write
from manager_agent.store.store import Change
from manager_agent.store.stored_session import StoredSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

IDS_AT_ONCE, READ_AT_ONCE, SETTLED_AT_ONCE = 1_000, 50, 16
OWNERS_FIRST = 3.0
"""Seconds until others put back what the owner of a session has not."""


class ReadingAnew:
    def __init__(
        self,
        connection: RedisConnection,
        changelog: ChangeLog,
        scripts: SessionScripts,
        sessions: ReplicatedSessions,
        mirror: Mirror,
        replica_id: str,
        owners_first: float,
    ) -> None:
        self._connection, self._changelog, self._scripts = connection, changelog, scripts
        self._sessions, self._mirror = sessions, mirror
        self._replica_id, self._owners_first = replica_id, owners_first
        self._epoch = b""
        self._put_back = 0
        self._tasks = Tasks()

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def read_anew(self) -> None:
        """Raises RedisAway."""
        epoch, has_lost = await self._has_lost()
        doubted = dict.fromkeys(self._sessions.ids)
        for batch in _batches(await self._ids(), READ_AT_ONCE):
            for session_id, stored in zip(batch, await self._scripts.read(batch), strict=True):
                match stored:
                    case StoredSession() if self._sessions.is_in_order(stored):
                        doubted.pop(session_id, None)
                        self._sessions.advance(stored, is_read_anew=True)
                    case ValueError():
                        log.warning("session_unreadable", session_id=session_id, why=str(stored))
        left = await self._settle_all([*doubted, *self._sessions.unreadable], has_lost, owners_first=True)
        if left:
            self._put_back_later(left)
        self._epoch = epoch

    async def settle(self, session_id: str) -> None:
        """What is stored of a session contradicts what is known. Raises RedisAway."""
        await self._settle(session_id, True, owners_first=False)

    def settle_soon(self, session_id: str) -> None:
        self._tasks.spawn(self.settle(session_id), name=f"settle {session_id}", for_all=True)

    async def _has_lost(self) -> tuple[bytes, bool]:
        """The epoch of Redis, and whether it has lost what it had when the changelog was last read."""
        keys, position = self._connection.keys, self._changelog.position
        epoch, oldest = await self._connection.pipeline(
            [("GET", keys.epoch), ("XRANGE", keys.changes, "-", "+", "COUNT", 1)]
        )
        if not self._epoch:
            return epoch or b"", False
        # The position is not in the changelog any more. If older entries are, it was not trimmed away.
        went_back = bool(oldest) and _order(oldest[0][0].decode()) < _order(position)
        return epoch or b"", epoch != self._epoch or went_back

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

    async def _settle_all(self, session_ids: Sequence[str], has_lost: bool, *, owners_first: bool) -> list[str]:
        """Those that their owners are to put back."""
        left: list[str] = []
        for batch in _batches(session_ids, SETTLED_AT_ONCE):
            settled = await asyncio.gather(
                *(self._settle(session_id, has_lost, owners_first=owners_first) for session_id in batch)
            )
            left.extend(session_id for session_id, is_settled in zip(batch, settled, strict=True) if not is_settled)
        return left

    async def _settle(self, session_id: str, has_lost: bool, *, owners_first: bool) -> bool:
        """A session is not stored, or not in as late a version as is known. Take what is stored, or put it back. False
        if its owner is to do so."""
        while True:
            known = self._sessions.find(session_id)
            version, was_written = known and known.version, self._sessions.is_being_written(session_id)
            (stored,) = await self._scripts.read([session_id])
            known = self._sessions.find(session_id)
            if isinstance(stored, ValueError):
                return True
            if stored is not None and self._sessions.is_in_order(stored):
                self._sessions.advance(stored, is_read_anew=True)
                return True
            if was_written or self._sessions.is_being_written(session_id) or (known and known.version) != version:
                continue  # by now there may be something else
            if known is None or not (has_lost and self._is_better(known, stored)):
                self._take(session_id, stored)
                return True
            if owners_first and known.ownership.owner != self._replica_id:
                return False
            if await self._is_put_back(session_id, stored):
                return True

    def _is_better(self, known: MirroredSession, stored: StoredSession | None) -> bool:
        """Whether what is known is to be stored: it is later, or both are from the same version and this is the
        owner."""
        if stored is None:
            return True
        is_later = stored.version < known.version or known.ownership.owner == self._replica_id
        return is_later and stored.ownership.fence <= known.ownership.fence

    def _take(self, session_id: str, stored: StoredSession | None) -> None:
        """What is stored is true, whatever was known."""
        if stored is None:
            self._sessions.lost(session_id)
        else:
            self._sessions.replace(stored)

    # --- what Redis has lost ------------------------------------------------------------------------

    async def _is_put_back(self, session_id: str, stored: StoredSession | None) -> bool:
        """Store what is known of a session instead of what is stored. False if that has changed since it was read."""
        known, session = self._sessions.known(session_id), self._mirror.get(session_id)
        holder = self._mirror.in_room(session.room_name)
        has_name = holder is not None and holder.session_id == session_id
        self._put_back += 1
        write = Write(f"{self._replica_id}/put-back/{self._put_back}", Change(session_id, session, session))
        version = max(known.version, 0 if stored is None else stored.version) + 1
        answer = await self._scripts.put_back(
            write,
            version,
            known.ownership,
            seen=stored,
            has_name=has_name,
        )
        if answer.status is Status.WRITTEN:
            self._sessions.advance(StoredSession(session_id, version, write.name, known.ownership, session.room_name))
        return answer.status is Status.WRITTEN

    def _put_back_later(self, session_ids: Sequence[str]) -> None:
        """Their owners put them back, unless those are gone too."""
        self._tasks.spawn(self._put_back_for_owners(session_ids), name="put sessions back", for_all=True)

    async def _put_back_for_owners(self, session_ids: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(self._owners_first * uniform(1.0, 1.5))
            with suppress(RedisAway):
                await self._settle_all(session_ids, True, owners_first=False)
                return


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)
