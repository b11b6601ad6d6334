"""A simulated Redis: sessions with their owners and fences, counters with limits, leases, and the log of all changes.

Commands are carried out one after another, when they arrive. How they travel, and that they get lost, is in
redis_link.py. What a replica mirrors follows from the log and its position in it: no copy is made for each replica.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from manager_agent.session.session import Session
from tests.simulation.event_heap import EventHeap
from tests.simulation.protocol_rules import RULES
from tests.simulation.simulated_claims import SimulatedClaim, SimulatedClaims
from tests.simulation.simulated_leases import SimulatedLeases

LOST_SECONDS = 1.0
"""What is lost of the last writes when Redis comes back without them."""
WRITES_REMEMBERED = 4


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """One session as Redis has it."""

    session: Session
    version: int
    owner: str
    fence: int
    run: int
    """Which life of Redis it was written in: a version means nothing in another one."""
    writes: tuple[int, ...] = ()
    """The ids of the latest writes, so that a replica whose answer was lost finds its own."""

    @property
    def order(self) -> tuple[int, int]:
        return self.run, self.version


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """A callback that waits to be delivered."""

    session_id: str
    revision: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A write that was carried out, kept as long as it may be lost."""

    at: float
    session_id: str
    before: SimulatedSession | None
    callbacks: tuple[CallbackRecord, ...]


Listener = Callable[[str, SimulatedSession | None, SimulatedSession | None], None]


class SimulatedRedis:
    def __init__(
        self,
        heap: EventHeap,
        capacities: Mapping[str, int],
        written: Listener,
        taken: Callable[[str], None],
        replaced: Callable[[SimulatedClaim], None],
    ) -> None:
        """`written`: called with each change of a session, before and after; `taken`: with the owner from which a
        session is taken because it counts as dead; `replaced`: with a claim whose replica does."""
        self._heap, self._capacities, self._written, self._taken = heap, capacities, written, taken
        self.sessions: dict[str, SimulatedSession] = {}
        self.owned_by: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Ordered, so that what is done for each is done in the same order in each run."""
        self.counters: Counter[str] = Counter()
        self.outbox: dict[str, deque[CallbackRecord]] = {}
        self.leases, self.claims = SimulatedLeases(), SimulatedClaims(heap, replaced)
        self.live_by_owner: Counter[str] = Counter()
        self.run, self.is_recovered = 1, True
        self.is_down = self.was_emptied = False
        self._log_times = array("d")
        self._past: dict[str, deque[tuple[int, SimulatedSession | None]]] = {}
        self._recent: deque[Written] = deque()
        self.lost: dict[str, SimulatedSession | None] = {}
        """What mirrors have of the sessions that Redis came back without, until they read the state anew."""
        self._lost_callbacks: dict[str, list[CallbackRecord]] = {}
        """Those that mirrors have of these sessions."""
        self.commands = 0

    # --- sessions ---

    def add(self, session: Session, owner: str, write: int, claim: SimulatedClaim) -> SimulatedSession | str | None:
        """The stored session, the id of the service that is full, or None if the claim is not there."""
        known = self.sessions.get(session.session_id)
        if known is not None:
            return known
        if not self.claims.permits(claim):
            return None
        if (full := self._full(_reserved(session), [])) and RULES.capacity_is_checked_in_redis:
            return full
        stored = SimulatedSession(session, 1, owner, 1, self.run, (write,))
        self._commit(session.session_id, stored, ())
        return stored

    def restore(self, session: Session, owner: str) -> SimulatedSession:
        """A session that was recovered from its room; what is stored of it counts for more."""
        known = self.sessions.get(session.session_id)
        if known is not None:
            return known
        stored = SimulatedSession(session, 1, owner, 1, self.run)
        self._commit(session.session_id, stored, ())
        return stored

    def swap(
        self,
        expected: SimulatedSession,
        session: Session,
        callbacks: tuple[CallbackRecord, ...],
        write: int,
    ) -> tuple[bool, SimulatedSession | None, str]:
        """Compare and set: whether it was written, what is stored now, and the service that is full."""
        session_id = session.session_id
        known = self.sessions.get(session_id)
        if known is None or not RULES.may_swap(known, expected):
            return False, known, ""
        has_same = _reserve_the_same(known.session, session)
        if not has_same and (full := self._full(_reserved(session), _reserved(known.session))):
            return False, known, full
        writes = (*known.writes, write)[-WRITES_REMEMBERED:]
        stored = SimulatedSession(session, known.version + 1, known.owner, known.fence, self.run, writes)
        self._commit(session_id, stored, callbacks)
        return True, stored, ""

    def take(
        self, session_id: str, expected_owner: str, fence: int, owner: str, *, only_from_dead: bool = False
    ) -> tuple[bool, SimulatedSession | None]:
        """Make `owner` the owner, if the owner and the fence are those expected."""
        known = self.sessions.get(session_id)
        if known is None or (known.owner, known.fence) != (expected_owner, fence):
            return False, known
        is_refused = only_from_dead and not self.leases.is_dead(expected_owner, self._heap.now)
        if is_refused and RULES.takes_only_from_the_dead:
            return False, known
        if only_from_dead:
            self._taken(expected_owner)
        stored = replace(known, owner=owner, fence=fence + 1, version=known.version + 1, run=self.run)
        self._commit(session_id, stored, ())
        return True, stored

    def put_back(self, lost: SimulatedSession, seen: SimulatedSession | None) -> SimulatedSession | None:
        """Store what a replica knows of a session, unless what is stored has changed since it looked. Returns what is
        stored then."""
        session_id = lost.session.session_id
        known = self.sessions.get(session_id)
        if known is not seen or (known is not None and known.fence > lost.fence):
            return known
        version = lost.version if known is None or known.version < lost.version else known.version + 1
        stored = replace(lost, version=version, run=self.run)
        self._commit(session_id, stored, ())
        if RULES.puts_callbacks_back:
            self._put_callbacks_back(lost.session)
        return stored

    def _put_callbacks_back(self, session: Session) -> None:
        """Those that belong to what a replica knows of the session."""
        lost = self._lost_callbacks.get(session.session_id, [])
        known = [record for record in lost if record.revision <= session.state_revision]
        waiting = {record.revision: record for record in (*known, *self.outbox.get(session.session_id, ()))}
        if waiting:
            self.outbox[session.session_id] = deque(waiting[revision] for revision in sorted(waiting))

    def remove(self, session_id: str, fence: int) -> bool:
        known = self.sessions.get(session_id)
        if known is None or known.fence != fence:
            return known is None
        self._commit(session_id, None, ())
        return True

    def delivered(self, record: CallbackRecord) -> None:
        waiting = self.outbox.get(record.session_id)
        if waiting and waiting[0].revision == record.revision:
            waiting.popleft()
        if waiting is not None and not waiting:
            del self.outbox[record.session_id]

    def first_callback(self, session_id: str) -> CallbackRecord | None:
        waiting = self.outbox.get(session_id)
        return waiting[0] if waiting else None

    def _full(self, wanted: list[str], had: list[str]) -> str:
        for service_id, more in (Counter(wanted) - Counter(had)).items():
            if self.counters[service_id] + more > self._capacities[service_id]:
                return service_id
        return ""

    def _commit(self, session_id: str, stored: SimulatedSession | None, callbacks: tuple[CallbackRecord, ...]) -> None:
        before, now = self.sessions.get(session_id), self._heap.now
        self._set(session_id, before, stored)
        if callbacks and RULES.callbacks_are_in_the_outbox:
            self.outbox.setdefault(session_id, deque()).extend(callbacks)
        recent = self._recent
        recent.append(Written(now, session_id, before, callbacks))
        while recent[0].at < now - LOST_SECONDS:
            recent.popleft()
        self._log(session_id, stored)
        self._written(session_id, before, stored)

    def _set(self, session_id: str, before: SimulatedSession | None, stored: SimulatedSession | None) -> None:
        if before is not None and before.session.end is None:
            self.live_by_owner[before.owner] -= 1
        if stored is not None and stored.session.end is None:
            self.live_by_owner[stored.owner] += 1
        was, now = (None if one is None else one.session for one in (before, stored))
        if not _reserve_the_same(was, now):
            self.counters.subtract(_reserved(was))
            self.counters.update(_reserved(now))
        if before is not None and (stored is None or stored.owner != before.owner):
            self.owned_by[before.owner].pop(session_id, None)
        if stored is None:
            self.sessions.pop(session_id, None)
        else:
            self.sessions[session_id] = stored
            self.owned_by[stored.owner][session_id] = None

    def _log(self, session_id: str, stored: SimulatedSession | None) -> None:
        self._log_times.append(self._heap.now)
        if stored is None:
            self._past.pop(session_id, None)
            return
        past = self._past.get(session_id)
        if past is None:
            past = self._past[session_id] = deque(maxlen=8)
        past.append((len(self._log_times), stored))

    # --- what a reader of the log knows ---

    def position_at(self, instant: float) -> int:
        """The position in the log of one that has read all that was written until then."""
        return bisect_right(self._log_times, instant)

    def logged(self, session_id: str, position: int, run: int) -> SimulatedSession | None:
        """What a reader at this position mirrors, which has read the state anew in this run or an earlier one."""
        if run < self.run and session_id in self.lost:
            return self.lost[session_id]
        found = None
        for at, stored in self._past.get(session_id, ()):
            if at > position:
                break
            found = stored
        return found

    # --- restarts ---

    def stop(self) -> None:
        self.is_down = True

    def come_back(self) -> None:
        self.is_down, self.is_recovered, self.lost, self._lost_callbacks = False, False, {}, {}
        self.run += 1

    def come_back_without_the_last(self) -> list[Written]:
        """What was lost, latest first."""
        self.come_back()
        lost = list(reversed(self._recent))
        self.lost = {written.session_id: self.sessions.get(written.session_id) for written in lost}
        for written in lost:
            self._set(written.session_id, self.sessions.get(written.session_id), written.before)
            self._log(written.session_id, written.before)
            waiting = self.outbox.get(written.session_id)
            while written.callbacks and waiting and waiting[-1].revision >= written.callbacks[0].revision:
                self._lost_callbacks.setdefault(written.session_id, []).append(waiting.pop())
        self._recent.clear()
        self.claims.lose(self._heap.now - LOST_SECONDS)
        return lost

    def come_back_empty(self) -> list[SimulatedSession]:
        """What was lost."""
        self.come_back()
        lost = list(self.sessions.values())
        self.lost = dict(self.sessions)
        self._lost_callbacks = {session_id: list(waiting) for session_id, waiting in self.outbox.items()}
        for kept in (self.sessions, self.owned_by, self.outbox, self._past):
            kept.clear()
        self.counters.clear()
        self.live_by_owner.clear()
        self._recent.clear()
        self.leases = SimulatedLeases()
        self.claims.lose()
        self.was_emptied = True
        return lost


def _reserve_the_same(one: Session | None, other: Session | None) -> bool:
    """A shortcut: sessions change far more often than which services they have."""
    if one is None or other is None or one.over != other.over:
        return False
    if one.services is other.services:
        return True
    for was, now in zip(one.services, other.services, strict=True):
        if was.current.instance is not now.current.instance:
            return False
    return True


def _reserved(session: Session | None) -> list[str]:
    """The services that it has reserved."""
    if session is None or session.over:
        return []
    return [service.service_id for service in session.services]
