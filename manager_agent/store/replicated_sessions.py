"""The sessions of all replicas as this one knows them: the mirror, with the version and the owner of each session.

What Redis has decided arrives twice: as the answer to an own write and as an entry of the changelog, in either order.
Versions tell what is known already. A session is told about once for each version, in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from manager_agent.drop_oldest import drop_oldest
from manager_agent.frozen import Frozen, replace
from manager_agent.session.session import Session
from manager_agent.store.mirror import Mirror
from manager_agent.store.session_encoding import UnreadableForm, decode
from manager_agent.store.store import Change, SessionUnreadable, UnknownSession
from manager_agent.store.stored_session import Ownership, StoredSession

log = structlog.get_logger()

OwnerListener = Callable[[str, Ownership | None, Ownership | None], None]
"""Called with the id of a session, its ownership before (None: it is new) and after (None: it was removed)."""
REMOVED_KEPT, PENDING_KEPT = 10_000, 10_000


@dataclass(slots=True)
class PendingWrite:
    """A write of this replica that was sent, and may have been carried out."""

    name: str
    version: int
    """Of the session after it; 0 for a new one, to which Redis gives its first."""
    change: Change
    is_uncertain: bool = False
    """Whether it may be carried out, and its entry is not read yet."""
    is_under_way: bool = False
    """Whether its answer is awaited."""
    is_carried_out: bool = False


class MirroredSession(Frozen):
    """What is known of a session in the mirror."""

    version: int
    write: str
    ownership: Ownership

    def is_at(self, stored: StoredSession) -> bool:
        return (self.version, self.write) == (stored.version, stored.write)


@dataclass(frozen=True, slots=True)
class UnreadableSession:
    """A session that this program can't read: a newer one has written it. It is left alone."""

    stored: StoredSession
    why: str


class ReplicatedSessions:
    """Only changes what this process knows; session_adding.py and session_changing.py write."""

    def __init__(self, mirror: Mirror, doubted: Callable[[str], None]) -> None:
        """`doubted`: called with the id of a session of which an entry says what can't be."""
        self._mirror, self._doubted = mirror, doubted
        self._known: dict[str, MirroredSession] = {}
        self._pending: dict[str, PendingWrite] = {}
        """By their names, oldest first."""
        self._removed: dict[str, int] = {}
        """The last versions of sessions that this replica removed and whose entries may not all be read, oldest
        first."""
        self._unreadable: dict[str, UnreadableSession] = {}
        self._owner_listeners: list[OwnerListener] = []
        self._owners: Counter[str] = Counter()

    # --- reads --------------------------------------------------------------------------------------

    def known(self, session_id: str) -> MirroredSession:
        """Raises UnknownSession, SessionUnreadable."""
        known = self._known.get(session_id)
        if known is None:
            raise self.missing(session_id)
        return known

    def missing(self, session_id: str) -> UnknownSession:
        """The error for a session that is not in the mirror."""
        return SessionUnreadable(session_id) if session_id in self._unreadable else UnknownSession(session_id)

    def stored(self, session_id: str) -> StoredSession:
        """What Redis has of a session, as far as is known. Raises UnknownSession."""
        known = self.known(session_id)
        return StoredSession(session_id, known.version, known.write, known.ownership)

    def find(self, session_id: str) -> MirroredSession | None:
        return self._known.get(session_id)

    @property
    def ids(self) -> list[str]:
        return list(self._known)

    @property
    def unreadable(self) -> Mapping[str, UnreadableSession]:
        return self._unreadable

    @property
    def owners(self) -> Counter[str]:
        """How many sessions each replica owns."""
        return self._owners.copy()

    def owned_by(self, replica_id: str) -> Iterator[Session]:
        return (
            self._mirror.get(session_id)
            for session_id, known in list(self._known.items())
            if known.ownership.owner == replica_id and session_id in self._mirror
        )

    def listen_to_owners(self, listener: OwnerListener) -> None:
        self._owner_listeners.append(listener)

    # --- own writes ---------------------------------------------------------------------------------

    def sent(self, pending: PendingWrite) -> None:
        """A write is about to be sent. When it is known to be carried out, its change is told as this replica's."""
        self._pending[pending.name] = pending
        drop_oldest(self._pending, PENDING_KEPT)

    def given_up(self, pending: PendingWrite) -> None:
        """It certainly was not carried out."""
        self._pending.pop(pending.name, None)

    def is_being_written(self, session_id: str) -> bool:
        """Whether an answer about this session is awaited."""
        return any(one.is_under_way and one.change.session_id == session_id for one in self._pending.values())

    def _carried_out(self, name: str) -> Change | None:
        """The change of a write that was carried out; None if it is another replica's."""
        pending = self._pending.pop(name, None)
        if pending is None:
            return None
        pending.is_carried_out = True
        return pending.change

    # --- what Redis has decided ---------------------------------------------------------------------

    def advance(self, stored: StoredSession, *, is_read_anew: bool = False) -> None:
        """A session is stored so. Has no effect if that is known, or was removed since."""
        session_id, known = stored.session_id, self._known.get(stored.session_id)
        if known is not None and known.version >= stored.version:
            if known.version == stored.version and known.write != stored.write:
                self._doubted(session_id)  # Redis has lost one of the two writes
            elif known.version > stored.version and stored.is_restored:
                self._doubted(session_id)  # put back by a replica that did not know the later ones
            return
        if known is None and not (is_read_anew or self._begins(stored)):
            if stored.is_restored or self._removed.get(session_id, 0) < stored.version:
                self._doubted(session_id)  # Redis has lost its removal, or its beginning was not read
            return  # from before it was removed
        self._store(stored, known, is_read_anew=is_read_anew)
        if session_id in self._known:
            self._unreadable.pop(session_id, None)

    def _begins(self, stored: StoredSession) -> bool:
        """Whether a session that is not known here begins with this."""
        is_removed = self._removed.get(stored.session_id, 0) >= stored.version
        return not is_removed and (stored.is_new or stored.session_id in self._unreadable)

    def is_in_order(self, stored: StoredSession) -> bool:
        """Whether it is what is known of the session, or a later version."""
        known = self._known.get(stored.session_id)
        if known is None or stored.version > known.version:
            return True
        return known.is_at(stored)

    def replace(self, stored: StoredSession) -> None:
        """A session is stored so, although a later version of it was known: Redis has lost that."""
        self._store(stored, self._known.get(stored.session_id), is_read_anew=True)

    def _store(self, stored: StoredSession, known: MirroredSession | None, *, is_read_anew: bool) -> None:
        session_id = stored.session_id
        change = self._carried_out(stored.write)
        before = None if known is None else self._mirror.get(session_id)
        try:
            after = self._after(stored, before, change)
        except UnreadableForm as error:
            self._keep_aside(stored, known, str(error))
            return
        owner_before = None if known is None else known.ownership
        self._own(owner_before, stored.ownership)
        self._known[session_id] = MirroredSession(stored.version, stored.write, stored.ownership)
        if change is None and after is not before and after != before:
            is_restored = before is None and (stored.is_restored or is_read_anew)
            change = Change(session_id, before, after, is_restored=is_restored, is_remote=True)
        if change is not None:
            self._mirror.put(change, has_name=self._has_name(after, is_read_anew=is_read_anew))
        if stored.ownership != owner_before:
            self._mirror.wake(session_id)
            self._tell_owners(session_id, owner_before, stored.ownership)

    def _after(self, stored: StoredSession, before: Session | None, change: Change | None) -> Session:
        """The session that is stored. Raises UnreadableForm."""
        if change is not None and change.after is not None:
            return change.after
        if stored.form is None:
            if before is None:
                raise UnreadableForm("its form was not read")
            return before
        return decode(stored.form)

    def _has_name(self, session: Session, *, is_read_anew: bool) -> bool:
        """Whether a new session is the last to have its room name. Sessions are read anew in the order in which they
        were created, by different clocks."""
        holder = self._mirror.in_room(session.room_name)
        return not is_read_anew or holder is None or not session.over or holder.over

    def _keep_aside(self, stored: StoredSession, known: MirroredSession | None, why: str) -> None:
        if stored.session_id not in self._unreadable:
            log.warning("session_unreadable", session_id=stored.session_id, why=why)
        kept = self._unreadable.get(stored.session_id)
        form = stored.form if stored.form is not None or kept is None else kept.stored.form
        self._unreadable[stored.session_id] = UnreadableSession(replace(stored, form=form), why)
        if known is not None:
            self._drop(stored.session_id, known, None)

    def removed(self, session_id: str, version: int, write: str, *, is_own: bool = False) -> None:
        """A session was removed; with its last version that is `version`. `is_own`: known from the answer to an own
        write, which may be earlier than the entries before it."""
        self._unreadable.pop(session_id, None)
        if not is_own:
            self._removed.pop(session_id, None)
        known = self._known.get(session_id)
        if known is None or known.version >= version:
            return
        if is_own:
            self._removed[session_id] = version - 1
            drop_oldest(self._removed, REMOVED_KEPT)
        self._drop(session_id, known, self._carried_out(write))

    def lost(self, session_id: str) -> None:
        """A session is not stored any more, and no entry said so."""
        self._unreadable.pop(session_id, None)
        if (known := self._known.get(session_id)) is not None:
            self._drop(session_id, known, None)

    def _drop(self, session_id: str, known: MirroredSession, change: Change | None) -> None:
        del self._known[session_id]
        self._own(known.ownership, None)
        self._mirror.put(change or Change(session_id, self._mirror.get(session_id), None, is_remote=True))
        self._tell_owners(session_id, known.ownership, None)

    # --- owners -------------------------------------------------------------------------------------

    def _own(self, before: Ownership | None, after: Ownership | None) -> None:
        if before is not None:
            self._owners[before.owner] -= 1
            if not self._owners[before.owner]:
                del self._owners[before.owner]
        if after is not None:
            self._owners[after.owner] += 1

    def _tell_owners(self, session_id: str, before: Ownership | None, after: Ownership | None) -> None:
        for listener in self._owner_listeners:
            try:
                listener(session_id, before, after)
            except Exception:
                log.exception("listener_fault", session_id=session_id)
