"""Adds sessions to those of all replicas. Redis decides whether the room name is free, the counters have room, and what
guards the session is there; this replica owns what it adds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from manager_agent.not_acting import NotActing
from manager_agent.redis.changelog import ChangeLog
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.store.mirror import Mirror
from manager_agent.store.replicated_sessions import PendingWrite, ReplicatedSessions
from manager_agent.store.session_scripts import Guard, SessionScripts, Status, WriteAnswer
from manager_agent.store.session_writer import SessionWriter
from manager_agent.store.store import Change, Full, RoomNameTaken
from manager_agent.store.stored_session import Ownership

OTHER_REQUEST = "another request with the same key may be executed instead"


class SessionAdding:
    def __init__(
        self,
        changelog: ChangeLog,
        scripts: SessionScripts,
        sessions: ReplicatedSessions,
        mirror: Mirror,
        writer: SessionWriter,
        replica_id: str,
    ) -> None:
        self._changelog, self._scripts, self._sessions = changelog, scripts, sessions
        self._mirror, self._writer, self._replica_id = mirror, writer, replica_id
        self.guard_of: Callable[[Session], Guard | None] = lambda session: None

    async def add(self, session: Session) -> None:
        """Raises RoomNameTaken, Full, NotActing, RedisAway."""
        self._mirror.refuse_when_frozen()
        await self._changelog.caught_up()
        with self._writer.pending(Change(session.session_id, None, session)) as pending:
            await self._add(session, pending)

    async def _add(self, session: Session, pending: PendingWrite) -> None:
        for is_last in (False, True):
            if (wait := self._mirror.name_free_in(session.room_name, session.tenant)) > 0:
                raise RoomNameTaken(session.room_name, wait)
            holder = self._mirror.in_room(session.room_name)
            add = partial(self._scripts.add, holder=holder, guard=self.guard_of(session))
            answer = await self._writer.send(pending, add)
            match answer.status:
                case Status.WRITTEN:
                    await self._added(pending, answer)
                    return
                case Status.FULL:
                    raise Full(answer.counter)
                case Status.UNGUARDED:
                    raise NotActing(OTHER_REQUEST)
            await self._writer.caught_up_after(pending)
            if pending.is_carried_out:  # and changed by others since
                return
            if is_last:  # taken by a session that is not known here, or not any more
                raise RoomNameTaken(session.room_name, answer.name_free_in or NAME_QUARANTINE)

    async def restore(self, session: Session, recorded_revision: int | None) -> None:
        """Raises SessionUnreadable if it is stored already, by a newer version of the program; RedisAway."""
        change = Change(session.session_id, None, session, is_restored=True, recorded_revision=recorded_revision)
        with self._writer.pending(change) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.add, holder=None))
            if answer.status is Status.WRITTEN:
                await self._added(pending, answer)
            else:
                await self._writer.caught_up_after(pending)
        self._sessions.known(session.session_id)

    async def _added(self, pending: PendingWrite, answer: WriteAnswer) -> None:
        if pending.is_carried_out:
            return
        if self._sessions.find(pending.change.session_id) is None:
            ownership = Ownership(self._replica_id, answer.fence)
            self._writer.written(pending, answer.version, ownership, is_new=True)
        else:  # another session had this id, and its removal is to be told first
            await self._changelog.caught_up()
