"""Compares the mirror with everything that is stored, at the start and whenever changes may have been missed.

Writes of this replica go on meanwhile. So a session that seems to have gone back or away is read once more, until no
write of this replica was under way in between.

Redis may have lost what it had: it was emptied, or another server went on that did not have the latest writes. Then the
replicas put back what they know, with the versions that it had. Each begins with its own sessions, as the owner knows
most of them best; one that knows a later version of what an owner has put back puts that back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import Enum, auto
from random import uniform

import structlog

from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.redis.entry_ids import order_of
from manager_agent.store.mirror import Mirror
from manager_agent.store.replicated_sessions import MirroredSession, ReplicatedSessions
from manager_agent.store.session_scripts import SessionScripts, Status, Write
from manager_agent.store.session_writer import SessionWriter
from manager_agent.store.store import Change
from manager_agent.store.stored_session import StoredSession
from manager_agent.tasks import Tasks

log = structlog.get_logger()

IDS_AT_ONCE, READ_AT_ONCE, SETTLED_AT_ONCE = 1_000, 50, 16
OWNERS_FIRST = 3.0
"""Seconds until others put back what the owner of a session has not."""
OWNER_POLL = 0.05
"""Seconds between two looks whether the owner has done so."""


class Loss(Enum):
    """What Redis has lost since the changelog was last read."""

    NOTHING = auto()
    LATEST = auto()
    """The latest writes, of one session or of all."""
    ALL = auto()
    """What is stored by now was put back."""


class ReadingAnew:
    def __init__(
        self,
        connection: RedisConnection,
        changelog: ChangeLog,
        scripts: SessionScripts,
        sessions: ReplicatedSessions,
        mirror: Mirror,
        writer: SessionWriter,
        replica_id: str,
        owners_first: float,
    ) -> None:
        self._connection, self._changelog, self._scripts = connection, changelog, scripts
        self._sessions, self._mirror, self._writer = sessions, mirror, writer
        self._replica_id, self._owners_first = replica_id, owners_first
        self._epoch = b""
        self._tasks = Tasks()

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def read_anew(self) -> None:
        """Raises RedisAway."""
        epoch, loss = await self._loss()
        doubted = dict.fromkeys(self._sessions.ids)
        for batch in _batches(await self._ids(), READ_AT_ONCE):
            for session_id, stored in zip(batch, await self._scripts.read(batch), strict=True):
                match stored:
                    case StoredSession() if self._sessions.is_in_order(stored):
                        doubted.pop(session_id, None)
                        self._sessions.advance(stored, is_read_anew=True)
                    case ValueError():
                        log.warning("session_unreadable", session_id=session_id, why=str(stored))
        left = await self._settle_all([*doubted, *self._sessions.unreadable], loss, owners_first=True)
        if left:
            self._put_back_later(left)
        self._epoch = epoch

    async def settle(self, session_id: str) -> None:
        """What is stored of a session is not what is known, or earlier. Returns when that is settled,
        if need be by its owner. Raises RedisAway."""
        loop = asyncio.get_running_loop()
        owner_first_until = loop.time() + self._patience()
        while not await self._settle(session_id, Loss.LATEST, owners_first=loop.time() < owner_first_until):
            await asyncio.sleep(OWNER_POLL)

    def settle_soon(self, session_id: str) -> None:
        """An entry of a session contradicts what is known."""
        settling = self._settle(session_id, Loss.LATEST, owners_first=False)
        self._tasks.spawn(settling, name=f"settle {session_id}", for_all=True)

    async def _loss(self) -> tuple[bytes, Loss]:
        """The epoch of Redis, and what it has lost of what it had when the changelog was last read."""
        keys, position = self._connection.keys, self._changelog.position
        epoch, oldest = await self._connection.pipeline(
            [("GET", keys.epoch), ("XRANGE", keys.changes, "-", "+", "COUNT", 1)]
        )
        if not self._epoch:
            return epoch or b"", Loss.NOTHING
        if epoch != self._epoch:
            return epoch or b"", Loss.ALL
        # The position is not in the changelog any more. If older entries are, it was not trimmed away.
        went_back = bool(oldest) and order_of(oldest[0][0].decode()) < order_of(position)
        return epoch, Loss.LATEST if went_back else Loss.NOTHING

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

    async def _settle_all(self, session_ids: Sequence[str], loss: Loss, *, owners_first: bool) -> list[str]:
        """Those that their owners are to put back."""
        left: list[str] = []
        for batch in _batches(session_ids, SETTLED_AT_ONCE):
            settled = await asyncio.gather(
                *(self._settle(session_id, loss, owners_first=owners_first) for session_id in batch)
            )
            left.extend(session_id for session_id, is_settled in zip(batch, settled, strict=True) if not is_settled)
        return left

    async def _settle(self, session_id: str, loss: Loss, *, owners_first: bool) -> bool:
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
            if known is None or loss is Loss.NOTHING or not self._is_better(known, stored):
                self._take(session_id, stored)
                return True
            is_put_back = loss is Loss.ALL and stored is not None
            if owners_first and not is_put_back and known.ownership.owner != self._replica_id:
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
        name, version = known.write, known.version
        if stored is not None and stored.version >= version:  # others have written to what Redis had left
            name, version = self._writer.next_name(), stored.version + 1
        change = Change(session_id, session, session)
        write = Write(name, change, self._writer.outbox(change))
        answer = await self._scripts.put_back(write, version, known.ownership, seen=stored, has_name=has_name)
        if answer.status is Status.WRITTEN:
            self._sessions.advance(StoredSession(session_id, version, write.name, known.ownership, session.room_name))
        return answer.status is Status.WRITTEN

    def _put_back_later(self, session_ids: Sequence[str]) -> None:
        """Their owners put them back, unless those are gone too."""
        self._tasks.spawn(self._put_back_for_owners(session_ids), name="put sessions back", for_all=True)

    async def _put_back_for_owners(self, session_ids: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(self._patience())
            with suppress(RedisAway):
                await self._settle_all(session_ids, Loss.LATEST, owners_first=False)
                return

    def _patience(self) -> float:
        """Seconds for which this replica leaves it to the owners."""
        return self._owners_first * uniform(1.0, 1.5)


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
