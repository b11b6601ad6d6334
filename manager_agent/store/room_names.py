"""Room names reserved by tokens: a token for a name opens any room that has it.

The reservations outlive their sessions, and the process if the records do. Each ends with its last token, never
earlier. Tokens that other replicas give out reserve names here too: what they record is merged with what is known here,
and recorded again if that is more.

There is one entry for each session whose tokens are valid; too many of them keep new sessions out
(http_api/limits/quotas.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from manager_agent.clock import Clock
from manager_agent.records.records import Kind, Record, Records
from manager_agent.records.values import ModelJson, Values

LEEWAY = 60.0
"""Seconds for which LiveKit accepts a token after its expiry (livekit/protocol, auth/verifier.go)."""
SAME_AHEAD = 0.5
"""Seconds by which two readings of how much LiveKit's time is ahead may differ although it did not change."""


@dataclass(slots=True)
class _Reservation:
    owner: str
    until: float
    """When the last token expires."""
    unrecognized_until: float = 0.0
    """When the last token expires whose holder can hide which session it belongs to."""
    sessions: dict[str, float] = field(default_factory=dict)
    """The sessions that gave out tokens, each with the expiry of its last one."""


@dataclass(frozen=True, slots=True)
class RecordedName:
    """That tokens of one session reserve a name, by the id of the session."""

    room_name: str
    owner: str
    until: float
    """This and the next by LiveKit's time."""
    unrecognized_until: float = 0.0
    livekit_ahead: float = 0.0
    """Seconds by which LiveKit's time was ahead of the clock of the process."""


def _shifted(name: RecordedName, seconds: float) -> RecordedName:
    return replace(name, livekit_ahead=name.livekit_ahead - seconds)


VALUES = Values(Kind.ROOM_NAME, 1, ModelJson(RecordedName), shift=_shifted)


class RoomNames:
    def __init__(
        self,
        records: Records,
        livekit_clock: Clock = time.time,
        *,
        clock: Clock | None = None,
        expect_livekit_ahead: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`livekit_clock`: the time that LiveKit compares tokens with; `clock`: that of the process, if it is another.
        `expect_livekit_ahead` is told by how much LiveKit's time is ahead, as far as an earlier process knew."""
        self._records, self._clock, self._own_clock = records, livekit_clock, clock or livekit_clock
        self._expect_livekit_ahead = expect_livekit_ahead
        self._by_name: dict[str, _Reservation] = {}
        self._expiries: list[tuple[float, str, str]] = []
        """A heap with one item for each session of a name. Tokens may have been given out since it was put there."""
        self._counts: Counter[str] = Counter()
        """The sessions of each owner's names."""
        self._recorded: dict[str, RecordedName] = {}
        """What this process has recorded last of each session: most tokens reserve nothing that is not recorded yet."""
        self._lost = 0
        """Changes of records that were lost until then."""
        records.listen(Kind.ROOM_NAME, self._heard, self._read_anew)

    @property
    def count(self) -> int:
        """Sessions whose tokens reserve a name."""
        self._forget_expired()
        return len(self._expiries)

    def count_of(self, owner: str) -> int:
        """Those whose name is reserved for this caller."""
        self._forget_expired()
        return self._counts[owner]

    async def start(self) -> None:
        """Call it before any other method."""
        await self.restore()

    async def restore(self) -> None:
        """Reserve the names for which an earlier process gave out tokens."""
        records = await self._records.load(Kind.ROOM_NAME)
        names = VALUES.read(records)
        for session_id, name in names.items():
            self._reserve(session_id, name)
        comparable = [record.key for record in records if record.ahead is not None and record.key in names]
        if comparable:  # LiveKit has not told its time yet, and no name may be free before
            self._expect_livekit_ahead(names[comparable[-1]].livekit_ahead)

    async def aclose(self) -> None: ...

    def issued(self, room_name: str, session_id: str, owner: str, expires_at: float, *, is_recognized: bool) -> None:
        """A token for this room was given out. `is_recognized`: whether its holder is seen to belong to the session
        (session/trespassers.py) as long as it is in a room."""
        self._forget_expired()
        self._reserve(session_id, RecordedName(room_name, owner, expires_at, 0.0 if is_recognized else expires_at))
        if not self._is_recorded(room_name, session_id):
            self._record(room_name, session_id)

    def _is_recorded(self, room_name: str, session_id: str) -> bool:
        """Whether the record of this session's tokens, if it was not lost, says all that is known here."""
        if (lost := self._records.stats.lost) != self._lost:
            self._lost = lost
            self._recorded.clear()
        recorded, kept = self._recorded.get(session_id), self._by_name[room_name]
        return (
            recorded is not None
            and (recorded.room_name, recorded.owner) == (room_name, kept.owner)
            and recorded.until >= kept.sessions[session_id]
            and recorded.unrecognized_until >= kept.unrecognized_until
            and abs(self._clock() - self._own_clock() - recorded.livekit_ahead) < SAME_AHEAD
        )

    def _record(self, room_name: str, session_id: str) -> None:
        kept = self._by_name[room_name]
        until, ahead = kept.sessions[session_id], self._clock() - self._own_clock()
        recorded = RecordedName(room_name, kept.owner, until, kept.unrecognized_until, ahead)
        kept_until = max(until, until - ahead) + LEEWAY
        self._records.put(Kind.ROOM_NAME, session_id, VALUES.write(recorded), expires_at=kept_until)
        self._recorded[session_id] = recorded

    def _heard(self, record: Record | None, session_id: str) -> None:
        """Another replica has given out a token. Records of names are not deleted, they expire."""
        self._forget_expired()
        accepted_from = self._clock() - LEEWAY
        for name in VALUES.read(() if record is None else (record,)).values():
            if name.until <= accepted_from:
                continue
            kept = self._reserve(session_id, name)
            is_longer_here = kept.sessions[session_id] > name.until
            if is_longer_here or kept.unrecognized_until > max(name.unrecognized_until, accepted_from):
                self._record(name.room_name, session_id)

    def _read_anew(self, session_ids: Set[str], are_lost: bool) -> None:
        """Record again what was lost."""
        self._forget_expired()
        for _, room_name, session_id in self._expiries:
            if session_id not in session_ids:
                self._record(room_name, session_id)

    def _reserve(self, session_id: str, name: RecordedName) -> _Reservation:
        kept = self._by_name.setdefault(name.room_name, _Reservation(name.owner, name.until))
        if kept.owner != name.owner:  # by the clock of another replica, the names of the earlier owner have expired
            self._counts[kept.owner] -= len(kept.sessions)
            self._counts[name.owner] += len(kept.sessions)
            kept.owner = name.owner
        if session_id not in kept.sessions:
            heappush(self._expiries, (name.until, name.room_name, session_id))
            self._counts[kept.owner] += 1
        kept.sessions[session_id] = max(kept.sessions.get(session_id, name.until), name.until)
        kept.until = max(kept.until, name.until)
        kept.unrecognized_until = max(kept.unrecognized_until, name.unrecognized_until)
        return kept

    def reserved_for(self, room_name: str, owner: str) -> float:
        """Seconds until this caller may have the name; 0 if now.

        The owner of the reservation need not wait: a participant with a token of another session is removed. A token
        whose holder can't be recognized is waited for. LiveKit accepts each token for LEEWAY after its expiry.
        """
        kept = self._by_name.get(room_name)
        if kept is None:
            return 0.0
        until = kept.unrecognized_until if kept.owner == owner else kept.until
        return max(0.0, until + LEEWAY - self._clock())

    def may_enter(self, room_name: str, session_id: str) -> bool:
        """Whether a token of this session can still open a room of this name."""
        kept = self._by_name.get(room_name)
        return kept is not None and kept.sessions.get(session_id, 0.0) + LEEWAY > self._clock()

    def is_reserved(self, room_name: str) -> bool:
        """Whether any token can still open a room of this name."""
        kept = self._by_name.get(room_name)
        return kept is not None and kept.until + LEEWAY > self._clock()

    def _forget_expired(self) -> None:
        accepted_from = self._clock() - LEEWAY
        while self._expiries and self._expiries[0][0] <= accepted_from:
            _, room_name, session_id = heappop(self._expiries)
            kept = self._by_name[room_name]
            if (until := kept.sessions[session_id]) > accepted_from:
                heappush(self._expiries, (until, room_name, session_id))
                continue
            del kept.sessions[session_id]
            self._recorded.pop(session_id, None)
            self._counts[kept.owner] -= 1
            if not self._counts[kept.owner]:
                del self._counts[kept.owner]
            if not kept.sessions:
                del self._by_name[room_name]
