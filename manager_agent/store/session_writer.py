"""Sends the writes of this replica, and finds out what came of those whose answers are lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from manager_agent.records.pending_changes import RecordChange
from manager_agent.redis.changelog import ChangeLog
from manager_agent.redis.connection import RedisAway
from manager_agent.store.replicated_sessions import PendingWrite, ReplicatedSessions
from manager_agent.store.session_scripts import Status, Write, WriteAnswer
from manager_agent.store.store import Change
from manager_agent.store.stored_session import Ownership, StoredSession

SENDS = 3
"""How often a write is sent whose answer gets lost."""

Outbox = Callable[[Change], Sequence[RecordChange]]
"""What is recorded in the same step as a change of this replica; or, if its session is the same before and after it,
when this replica puts the session back that Redis has lost. It may be asked for changes that are then not made, as
others were first."""


class SessionWriter:
    def __init__(self, changelog: ChangeLog, sessions: ReplicatedSessions, replica_id: str) -> None:
        self._changelog, self._sessions, self._replica_id = changelog, sessions, replica_id
        self._numbers = count(1)
        self.outbox: Outbox = lambda change: ()

    def next_name(self) -> str:
        """A name for a write that no other one has."""
        return f"{self._replica_id}/{next(self._numbers)}"

    @contextmanager
    def pending(self, change: Change, version: int = 0) -> Iterator[PendingWrite]:
        """A write that is about to be sent. One that may have been carried out at the end is told when its entry comes;
        if RedisAway is raised then, it says so."""
        pending = PendingWrite(self.next_name(), version, change)
        self._sessions.sent(pending)
        try:
            yield pending
        except RedisAway as away:
            away.is_uncertain = pending.is_uncertain and not pending.is_carried_out
            raise
        finally:
            if not pending.is_uncertain:
                self._sessions.given_up(pending)

    async def send(self, pending: PendingWrite, send: Callable[[Write], Awaitable[WriteAnswer]]) -> WriteAnswer:
        """Send a write. If its answer is lost, look whether it was carried out, and send it again if not. Raises
        RedisAway."""
        write = Write(pending.name, pending.change, self.outbox(pending.change))
        for is_last in (False,) * (SENDS - 1) + (True,):
            was_uncertain = pending.is_uncertain
            pending.is_uncertain = pending.is_under_way = True
            try:
                answer = await send(write)
                pending.is_uncertain = was_uncertain or answer.status is Status.WRITTEN
                return answer
            except RedisAway as away:
                pending.is_uncertain = was_uncertain or away.is_uncertain
                if is_last or not away.is_uncertain:
                    raise
            finally:
                pending.is_under_way = False
            await self._changelog.caught_up()
            if pending.is_carried_out:
                return WriteAnswer(Status.WRITTEN, pending.version)
        raise AssertionError("the last time returns or raises")

    async def caught_up_after(self, pending: PendingWrite) -> None:
        """Whether a write was carried out is certain then, as it can't be any more."""
        await self._changelog.caught_up()
        pending.is_uncertain = False

    def written(self, pending: PendingWrite, version: int, ownership: Ownership, *, is_new: bool = False) -> None:
        """Redis has answered that it has stored the session of this write so. Its entry may have been read already."""
        session = pending.change.session
        self._sessions.advance(
            StoredSession(session.session_id, version, pending.name, ownership, session.room_name, is_new=is_new)
        )
