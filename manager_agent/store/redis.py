"""A store that shares its sessions with other replicas through Redis.

Reads are of the mirror, which the changelog keeps up to date. Writes are decided by Redis: `update` is a
compare-and-set around the pure `apply`, tried again with what others have written meanwhile. Each session has an owner,
the replica that acts for it; any replica may record what it observed or was asked for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import uniform
from time import perf_counter

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.plan import NAME_QUARANTINE
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.counters import LimitOf
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.mirror import Mirror
from manager_agent.store.owned_store import NOT_OWNER, OwnedStore
from manager_agent.store.reading_anew import OWNERS_FIRST, ReadingAnew
from manager_agent.store.replicated_sessions import (
    OwnerListener,
    PendingWrite,
    ReplicatedSessions,
    UnreadableSession,
)
from manager_agent.store.room_names import RoomNames
from manager_agent.store.session_scripts import Guard, SessionScripts, Status, WriteAnswer
from manager_agent.store.session_writer import Outbox, SessionWriter
from manager_agent.store.store import Change, Full, Listener, RoomNameTaken, Timing, UnknownSession, untimed
from manager_agent.store.stored_session import Ownership, StoredSession, TakeIf, read_session_entry

TRIES = 40
"""How often a write is tried that others are always faster than."""
FIRST_TRIES, PAUSE = 3, 0.05
"""After so many tries each is preceded by a random pause of up to so many seconds."""
OTHER_REQUEST = "another request with the same key may be executed instead"


class RedisStore:
    """The Store of one of several replicas. Writes raise RedisAway too; they may have had effect then."""

    def __init__(
        self,
        connection: RedisConnection,
        changelog: ChangeLog,
        clock: Clock,
        replica_id: str,
        *,
        timing: Timing = untimed,
        names: RoomNames | None = None,
        ended: EndedSessions | None = None,
        limit_of: LimitOf = lambda counter: None,
        owners_first: float = OWNERS_FIRST,
    ) -> None:
        """Create it before the changelog starts. `replica_id`: no other process ever had it. `owners_first`: seconds
        until others than their owners put sessions back that Redis has lost."""
        self.replica_id = replica_id
        self._changelog, self._clock, self._timing = changelog, clock, timing
        self._mirror = Mirror(clock, names, ended)
        self._sessions = ReplicatedSessions(self._mirror, self._doubted)
        self._scripts = SessionScripts(connection, replica_id, limit_of)
        self._guard_of: Callable[[Session], Guard | None] = lambda session: None
        self._writer = SessionWriter(changelog, self._sessions, replica_id)
        self._reading = ReadingAnew(
            connection, changelog, self._scripts, self._sessions, self._mirror, self._writer, replica_id, owners_first
        )
        changelog.subscribe("session", self._apply_entry, self._reading.read_anew)
        changelog.subscribe("session_removed", self._apply_removal, self._reading.read_anew)

    async def aclose(self) -> None:
        """Call it once the changelog is closed."""
        await self._reading.aclose()

    # --- reads --------------------------------------------------------------------------------------

    @property
    def counts(self) -> SessionCounts:
        return self._mirror.counts

    @property
    def waiters(self) -> int:
        return self._mirror.waiters

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession, SessionUnreadable."""
        try:
            return self._mirror.get(session_id)
        except UnknownSession:
            raise self._sessions.missing(session_id) from None

    def in_room(self, room_name: str) -> Session | None:
        return self._mirror.in_room(room_name)

    def name_free_in(self, room_name: str, tenant: str) -> float:
        return self._mirror.name_free_in(room_name, tenant)

    def list(self) -> Iterator[Session]:
        return self._mirror.list()

    def in_use(self, service_id: str) -> int:
        return self.counts.in_use(service_id)

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        try:
            return await self._mirror.wait_for(session_id, wanted)
        except UnknownSession:
            raise self._sessions.missing(session_id) from None

    def record_with(self, outbox: Outbox) -> None:
        """Have what `outbox` returns for a change of this replica recorded in the same step."""
        self._writer.outbox = outbox

    def guard_with(self, guard_of: Callable[[Session], Guard | None]) -> None:
        """Have a session added only while there is what `guard_of` returns for it: `add` raises NotActing otherwise."""
        self._guard_of = guard_of

    def listen(self, listener: Listener) -> None:
        self._mirror.listen(listener)

    @property
    def unreadable(self) -> Mapping[str, UnreadableSession]:
        """The sessions that this program can't read, by their ids."""
        return self._sessions.unreadable

    # --- owners -------------------------------------------------------------------------------------

    def owns(self, session_id: str) -> bool:
        """Whether this replica acts for the session, as far as it knows."""
        known = self._sessions.find(session_id)
        return known is not None and known.ownership.owner == self.replica_id

    def ownership(self, session_id: str) -> Ownership:
        """Raises UnknownSession."""
        return self._sessions.known(session_id).ownership

    def owned(self) -> Iterator[Session]:
        return self._sessions.owned_by(self.replica_id)

    def owned_by(self, replica_id: str) -> Iterator[Session]:
        return self._sessions.owned_by(replica_id)

    def owners(self) -> Counter[str]:
        """How many sessions each replica owns."""
        return self._sessions.owners

    def listen_to_owners(self, listener: OwnerListener) -> None:
        """Call `listener` synchronously with each change of the owner of a session, after the change of the session."""
        self._sessions.listen_to_owners(listener)

    def acting(self, session_id: str) -> OwnedStore:
        """The store for what acts for this session, as long as this replica owns it as it does now. Raises
        UnknownSession, NotActing."""
        ownership = self.ownership(session_id)
        if ownership.owner != self.replica_id:
            raise NotActing(NOT_OWNER)
        return OwnedStore(self, session_id, ownership)

    async def take(self, session_id: str, *, expected: Ownership, owner: str, only_if: TakeIf = TakeIf.ANYWAY) -> bool:
        """Give the session to another owner. False if it is not owned as expected, if there is no such session, or
        if the condition is not met. Raises RedisAway."""
        name = self._writer.next_name()
        answer = await self._scripts.take(name, session_id, expected, owner, only_if=only_if)
        await self._changelog.caught_up()
        return answer.status is Status.WRITTEN

    # --- freezing -----------------------------------------------------------------------------------

    @property
    def is_frozen(self) -> bool:
        return self._mirror.is_frozen

    def freeze(self) -> None:
        self._mirror.freeze()

    # --- adding -------------------------------------------------------------------------------------

    async def add(self, session: Session) -> None:
        self._mirror.refuse_when_frozen()
        await self._changelog.caught_up()
        with self._writer.pending(Change(session.session_id, None, session)) as pending:
            await self._add(session, pending)

    async def _add(self, session: Session, pending: PendingWrite) -> None:
        for is_last in (False, True):
            if (wait := self.name_free_in(session.room_name, session.tenant)) > 0:
                raise RoomNameTaken(session.room_name, wait)
            holder = self.in_room(session.room_name)
            add = partial(self._scripts.add, holder=holder, guard=self._guard_of(session))
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

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        """Raises SessionUnreadable if it is stored already, by a newer version of the program."""
        change = Change(session.session_id, None, session, is_restored=True, recorded_revision=recorded_revision)
        with self._writer.pending(change) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.add, holder=None))
            if answer.status is Status.WRITTEN:
                await self._added(pending, answer)
            else:
                await self._writer.caught_up_after(pending)
        self.get(session.session_id)
        if session.is_cleaned_up:
            await self._bound_ended(session.owner)

    # --- changing -----------------------------------------------------------------------------------

    async def update(self, session_id: str, event: Event) -> Session:
        return (await self.change(session_id, event)).session

    async def change(self, session_id: str, event: Event) -> Change:
        return await self.change_owned(session_id, event, None)

    async def change_owned(self, session_id: str, event: Event, begun: Ownership | None) -> Change:
        """The same, only as long as the session is owned so: raises NotActing otherwise."""
        started = perf_counter()
        known = self._sessions.known(session_id)
        async with known.turn:
            change = await self._update(session_id, event, begun)
        if change.ends_clean_up:
            await self._bound_ended(change.session.owner)
        self._timing(perf_counter() - started)
        return change

    async def _update(self, session_id: str, event: Event, begun: Ownership | None) -> Change:
        for tried in range(TRIES):
            self._mirror.refuse_when_frozen()
            known, before = self._sessions.known(session_id), self.get(session_id)
            version = known.version
            if begun is not None and known.ownership != begun:
                raise NotActing(NOT_OWNER)
            change = Change(session_id, before, apply(before, event), event)
            if change.changes_nothing:
                await self._changelog.caught_up()  # others may have changed it
                if self._sessions.known(session_id).version == version:
                    return change
            elif await self._compare_and_set(self._sessions.stored(session_id), change):
                return change
            else:
                await self._others_first(tried)
        raise RedisAway("others always changed the session first")

    async def _compare_and_set(self, known: StoredSession, change: Change) -> bool:
        with self._writer.pending(change, known.version + 1) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.update, known=known))
            if answer.status is Status.FULL:
                raise Full(answer.counter)
            if answer.status is Status.WRITTEN:
                self._written(pending, answer.version, known.ownership)
            else:
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

    # --- removing -----------------------------------------------------------------------------------

    async def remove(self, session_id: str) -> None:
        for tried in range(TRIES):
            known = self._sessions.known(session_id)
            async with known.turn:
                if await self._remove(session_id):
                    return
            await self._others_first(tried)
        raise RedisAway("others always changed the session first")

    async def _remove(self, session_id: str) -> bool:
        known, session = self._sessions.stored(session_id), self.get(session_id)
        free_at = self._mirror.quarantined_until(session)
        quarantine = 0.0 if free_at is None else free_at - self._clock()
        with self._writer.pending(Change(session_id, session, None), known.version + 1) as pending:
            answer = await self._writer.send(pending, partial(self._scripts.remove, known=known, quarantine=quarantine))
            if answer.status is Status.WRITTEN:
                self._sessions.removed(session_id, pending.version, pending.name, is_own=True)
                return True
            await self._see_what_is_stored(known, pending)
            return pending.is_carried_out

    async def _bound_ended(self, owner: str) -> None:
        """Remove ended sessions if there are too many. The next one that ends continues where this fails."""
        for oldest in self._mirror.excess(owner):
            try:
                await self.remove(oldest)
            except UnknownSession:
                continue
            except RedisAway:
                return

    # --- what Redis has carried out -----------------------------------------------------------------

    async def _added(self, pending: PendingWrite, answer: WriteAnswer) -> None:
        if pending.is_carried_out:
            return
        if self._sessions.find(pending.change.session_id) is None:
            self._written(pending, answer.version, Ownership(self.replica_id, answer.fence), is_new=True)
        else:  # another session had this id, and its removal is to be told first
            await self._changelog.caught_up()

    def _written(self, pending: PendingWrite, version: int, ownership: Ownership, *, is_new: bool = False) -> None:
        """Its entry may have been read already."""
        session = pending.change.session
        self._sessions.advance(
            StoredSession(session.session_id, version, pending.name, ownership, session.room_name, is_new=is_new)
        )

    def _apply_entry(self, entry: Entry) -> None:
        self._sessions.advance(read_session_entry(entry.fields))

    def _apply_removal(self, entry: Entry) -> None:
        fields = entry.fields
        self._sessions.removed(fields[b"id"].decode(), int(fields[b"v"]), fields[b"w"].decode())

    def _doubted(self, session_id: str) -> None:
        self._reading.settle_soon(session_id)
