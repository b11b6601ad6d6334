"""A store that shares its sessions with other replicas through Redis.

Reads are of the mirror, which the changelog keeps up to date; Redis decides about writes (session_adding.py,
session_changing.py). Each session has an owner, the replica that acts for it; any replica may record what it observed
or was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter

from manager_agent.clock import Clock
from manager_agent.not_acting import NotActing
from manager_agent.redis.changelog import ChangeLog, Entry
from manager_agent.redis.connection import RedisAway, RedisConnection
from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.store.counters import LimitOf
from manager_agent.store.ended_sessions import EndedSessions
from manager_agent.store.mirror import Mirror
from manager_agent.store.mirrored_store import MirroredStore
from manager_agent.store.owned_store import NOT_OWNER, OwnedStore
from manager_agent.store.reading_anew import OWNERS_FIRST, ReadingAnew
from manager_agent.store.replicated_sessions import (
    OwnerListener,
    ReplicatedSessions,
    UnreadableSession,
)
from manager_agent.store.room_names import RoomNames
from manager_agent.store.session_adding import SessionAdding
from manager_agent.store.session_changing import SessionChanging
from manager_agent.store.session_scripts import Guard, SessionScripts, Status
from manager_agent.store.session_writer import Outbox, SessionWriter
from manager_agent.store.store import Change, Timing, UnknownSession, untimed
from manager_agent.store.stored_session import Ownership, TakeIf, read_session_entry


class RedisStore(MirroredStore):
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
        super().__init__(mirror := Mirror(clock, names, ended))
        self.replica_id = replica_id
        self._changelog, self._timing = changelog, timing
        self._sessions = sessions = ReplicatedSessions(mirror, self._doubted)
        self._scripts = scripts = SessionScripts(connection, replica_id, limit_of)
        self._writer = writer = SessionWriter(changelog, sessions, replica_id)
        self._reading = ReadingAnew(connection, changelog, scripts, sessions, mirror, writer, replica_id, owners_first)
        self._adding = SessionAdding(changelog, scripts, sessions, mirror, writer, replica_id)
        self._changing = SessionChanging(clock, changelog, scripts, sessions, mirror, writer, self._reading)
        changelog.subscribe("session", self._apply_entry, self._reading.read_anew)
        changelog.subscribe("session_removed", self._apply_removal, self._reading.read_anew)

    async def aclose(self) -> None:
        """Call it once the changelog is closed."""
        await self._reading.aclose()

    # --- reads --------------------------------------------------------------------------------------

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession, SessionUnreadable."""
        try:
            return super().get(session_id)
        except UnknownSession:
            raise self._sessions.missing(session_id) from None

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        try:
            return await super().wait_for(session_id, wanted)
        except UnknownSession:
            raise self._sessions.missing(session_id) from None

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

    # --- writes -------------------------------------------------------------------------------------

    def record_with(self, outbox: Outbox) -> None:
        """Have what `outbox` returns for a change of this replica recorded in the same step."""
        self._writer.outbox = outbox

    def guard_with(self, guard_of: Callable[[Session], Guard | None]) -> None:
        """Have a session added only while there is what `guard_of` returns for it: `add` raises NotActing otherwise."""
        self._adding.guard_of = guard_of

    async def add(self, session: Session) -> None:
        await self._adding.add(session)

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        """Raises SessionUnreadable if it is stored already, by a newer version of the program."""
        await self._adding.restore(session, recorded_revision)
        if session.is_cleaned_up:
            await self._bound_ended(session.owner)

    async def update(self, session_id: str, event: Event) -> Session:
        return (await self.change(session_id, event)).session

    async def change(self, session_id: str, event: Event) -> Change:
        return await self.change_owned(session_id, event, None)

    async def change_owned(self, session_id: str, event: Event, begun: Ownership | None) -> Change:
        """The same, only as long as the session is owned so: raises NotActing otherwise."""
        started = perf_counter()
        change = await self._changing.change(session_id, event, begun)
        if change.ends_clean_up:
            await self._bound_ended(change.session.owner)
        self._timing(perf_counter() - started)
        return change

    async def remove(self, session_id: str) -> None:
        await self._changing.remove(session_id)

    async def _bound_ended(self, owner: str) -> None:
        """Remove ended sessions if there are too many. The next one that ends continues where this fails."""
        for oldest in self._mirror.excess(owner):
            try:
                await self.remove(oldest)
            except UnknownSession:
                continue
            except RedisAway:
                return

    # --- what the changelog says -------------------------------------------------------------------

    def _apply_entry(self, entry: Entry) -> None:
        self._sessions.advance(read_session_entry(entry.fields))

    def _apply_removal(self, entry: Entry) -> None:
        fields = entry.fields
        self._sessions.removed(fields[b"id"].decode(), int(fields[b"v"]), fields[b"w"].decode())

    def _doubted(self, session_id: str) -> None:
        self._reading.settle_soon(session_id)
