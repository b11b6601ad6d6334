"""Changes and removes the sessions of all replicas: each is a compare-and-set around a pure function, tried again with
what others have written meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial
from random import uniform

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway
from manager_agent.session.events import Event
from manager_agent.session.transitions import apply
from manager_agent.store.mirror import Mirror
from manager_agent.store.owned_store import NOT_OWNER
from manager_agent.store.reading_anew import ReadingAnew
from manager_agent.store.replicated_sessions import PendingWrite, ReplicatedSessions
from manager_agent.store.session_scripts import SessionScripts, Status
from manager_agent.store.session_turns import SessionTurns
from manager_agent.store.session_writer import SessionWriter
from manager_agent.store.store import Change, Full
from manager_agent.store.stored_session import Ownership, StoredSession

TRIES = 40
"""How often a write is tried that others are always faster than."""
FIRST_TRIES, PAUSE = 3, 0.05
"""After so many tries each is preceded by a random pause of up to so many seconds."""
OTHERS_FIRST = "others always changed the session first"


class SessionChanging:
    def __init__(
        self,
        clock: Clock,
        changelog: ChangeLog,
        scripts: SessionScripts,
        sessions: ReplicatedSessions,
        mirror: Mirror,
        writer: SessionWriter,
        reading: ReadingAnew,
    ) -> None:
        self._clock, self._changelog, self._scripts = clock, changelog, scripts
        self._sessions, self._mirror, self._writer, self._reading = sessions, mirror, writer, reading
        self._turns = SessionTurns()

    async def change(self, session_id: str, event: Event, begun: Ownership | None) -> Change:
        """`begun`: only as long as the session is owned so. Raises UnknownSession, Full, NotActing, RedisAway."""
        self._sessions.known(session_id)
        async with self._turns.of(session_id):
            for tried in range(TRIES):
                if (change := await self._change(session_id, event, begun)) is not None:
                    return change
                await self._others_first(tried)
        raise RedisAway(OTHERS_FIRST)

    async def remove(self, session_id: str) -> None:
        """Raises UnknownSession, RedisAway."""
        for tried in range(TRIES):
            self._sessions.known(session_id)
            async with self._turns.of(session_id):
                if await self._remove(session_id):
                    return
            await self._others_first(tried)
        raise RedisAway(OTHERS_FIRST)

    async def _change(self, session_id: str, event: Event, begun: Ownership | None) -> Change | None:
        """None if another write was first."""
        self._mirror.refuse_when_frozen()
        known, before = self._sessions.stored(session_id), self._mirror.get(session_id)
        if begun is not None and known.ownership != begun:
            raise NotActing(NOT_OWNER)
        change = Change(session_id, before, apply(before, event), event)
        if change.changes_nothing:
            await self._changelog.caught_up()  # others may have changed it
            is_current = self._sessions.known(session_id).version == known.version
        else:
            is_current = await self._compare_and_set(known, change)
        return change if is_current else None

    async def _compare_and_set(self, known: StoredSession, change: Change) -> bool:
        with self._writer.pending(change, known.version + 1) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.update, known=known))
            if answer.status is Status.FULL:
                raise Full(answer.counter)
            if answer.status is Status.WRITTEN:
                self._writer.written(pending, answer.version, known.ownership)
            else:
                await self._see_what_is_stored(known, pending)
            return pending.is_carried_out

    async def _remove(self, session_id: str) -> bool:
        known, session = self._sessions.stored(session_id), self._mirror.get(session_id)
        free_at = self._mirror.quarantined_until(session)
        quarantine = 0.0 if free_at is None else free_at - self._clock()
        with self._writer.pending(Change(session_id, session, None), known.version + 1) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.remove, known=known, quarantine=quarantine))
            if answer.status is Status.WRITTEN:
                self._sessions.removed(session_id, pending.version, pending.name, is_own=True)
                return True
            await self._see_what_is_stored(known, pending)
            return pending.is_carried_out

    async def _see_what_is_stored(self, known: StoredSession, pending: PendingWrite) -> None:
        """It was not what was known when the write was sent."""
        await self._writer.caught_up_after(pending)
        if (found := self._sessions.find(known.session_id)) is not None and found.is_at(known):
            await self._reading.settle(known.session_id)  # no entry says so: Redis has lost a write

    async def _others_first(self, tried: int) -> None:
        """Another write was first. With many writers, let the others go on for a moment."""
        if tried >= FIRST_TRIES:
            await asyncio.sleep(uniform(0, PAUSE))
