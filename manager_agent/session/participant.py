"""Whether one identity is in the room, according to the reports received.

PURE. Webhooks, room events and listings report the same joins and leaves late, repeatedly and out of order. LiveKit
gives every join a new participant sid and an instant, by which the reports are ordered. No report is always true: a
listing may lack a participant, and a leave may be reported of one that is still there. So a participant that a listing
lacks is only missed, one that is shown again is back, and what the manager sees in the room counts for more than
webhooks and listings: it takes both to end a presence that the manager sees.
"""

from __future__ import annotations

import math

from manager_agent.backoff import doubling
from manager_agent.frozen import Frozen, replace

REMEMBERED_LEAVES = 16
"""The number of sids remembered after they left. Leaves are reported late by seconds, not by dozens of joins."""
MISSES_MAX, MISSED_FOR = 3, 1.0
"""A participant is gone when so many listings in a row lack it, the last requested so many seconds after the first."""
SUCCESSOR_MISSED_FOR = 30.0
"""The same for a participant that joined after another one of its identity: when the earlier one closes, LiveKit may
delete the later one's entry from what it lists, for as long as the later one's state does not change (livekit#2399)."""
LISTING_LAG = 1.0
"""Seconds after a reported leave for which a listing may still show the participant."""
ROOM_EVENT_LAG = 3.0
"""The same for the manager's view of the room, which LiveKit updates every two seconds."""
REMOVAL_PAUSE, REMOVAL_PAUSE_MAX = 1.0, 300.0
"""Seconds from one try to remove a participant to the next. Doubles with every try, up to the maximum."""


class Departure(Frozen):
    """The leave of the participant that was in the room last."""

    sid: str
    at: float
    seen_by: str | None
    """The identity of the manager that saw it in the room; None: other sources reported it."""

    def is_refuted(self, sid: str, shown_at: float | None, by: str | None) -> bool:
        """Whether `sid`, shown in the room at `shown_at`, proves that the leave was reported in error."""
        if shown_at is None or sid != self.sid:
            return False
        lag = LISTING_LAG if by is None else 0.0 if self.seen_by is not None else ROOM_EVENT_LAG
        return shown_at >= self.at + lag


class Presence(Frozen):
    """The joins and leaves of one identity. `sid` is the participant in the room now, if any."""

    sid: str | None = None
    joined_ms: int = 0
    """LiveKit's instant of this join, or of the last one, in milliseconds; 0 when the source did not report it."""
    reported_at: float | None = None
    """When this join was first reported to us, in seconds since the epoch."""
    gone: tuple[str, ...] = ()
    """Sids known to have left, including any whose join was not reported yet; newest last."""
    last: Departure | None = None
    """The leave of the last participant here; None if another one has replaced it."""
    seen_by: str | None = None
    """The identity of the manager that sees this participant in the room; None: only others reported it."""
    misses: int = 0
    """Listings in a row that lacked it, counted up to MISSES_MAX."""
    missed_since: float = math.inf
    """When the first of them was requested."""
    leave_reported_at: float | None = None
    """When its leave was reported that has to be checked: a webhook did although the manager in the room sees it, or
    it was put out by another one of its identity. None once it is checked."""
    may_be_unseen: bool = False
    """Whether the manager may not report it although it sees the room: it is hidden, or its leave was reported in error
    after the manager had seen it."""

    @property
    def here(self) -> bool:
        return self.sid is not None

    @property
    def is_replaced(self) -> bool:
        """Whether `sid` was put out by another participant of the same identity, whose sid is not known yet."""
        return self.sid in self.gone

    def has_left(self, sid: str, shown_at: float | None = None, by: str | None = None) -> bool:
        """Whether this participant is known to have left, and a report that shows it in the room is outdated."""
        return sid in self.gone and not self._is_back(sid, shown_at, by)

    def seen(
        self,
        sid: str,
        joined_ms: int,
        at: float,
        *,
        shown_at: float | None = None,
        by: str | None = None,
        is_hidden: bool = False,
    ) -> Presence:
        """The participant `sid` was seen in the room. Unchanged when that is already known or outdated.

        `shown_at`: when it was in the room for certain, according to a listing or to the manager `by`; None for a
        webhook, which may be late. `is_hidden`: other participants do not see it.
        """
        if sid == self.sid:
            checked = self._checked(shown_at, by)
            if checked.is_replaced:
                return self
            found = checked.found()
            return found if by in (None, self.seen_by) else replace(found, seen_by=by)
        if self.has_left(sid, shown_at, by) or 0 < joined_ms < self.joined_ms:
            return self
        gone = self._with_gone(self.sid) if self.sid else tuple(one for one in self.gone if one != sid)
        return Presence(sid, joined_ms, reported_at=at, gone=gone, seen_by=by, may_be_unseen=is_hidden)

    def left(self, sid: str, at: float, by: str | None = None, *, is_watched: bool = False) -> Presence:
        """The participant `sid` has left, according to the manager `by` or to another source. Only the current
        participant's leave changes the presence; all are remembered.

        `is_watched`: the manager in the room sees it, so that it stays here until a listing or the manager confirms the
        leave.
        """
        if sid in self.gone and sid != self.sid:
            return self
        if sid != self.sid:
            return replace(self, gone=self._with_gone(sid))
        if by is None and is_watched:
            return self if self.leave_reported_at is not None else replace(self, leave_reported_at=at)
        return self._without(Departure(sid, at, by))

    def replaced(self, sid: str, at: float) -> Presence:
        """The participant `sid` has left because another one has joined under the same identity, or may have. The
        other's join may be reported seconds later, so the identity is here until listings lack it."""
        if self.is_replaced or sid != self.sid:
            return self if sid == self.sid else self.left(sid, at)
        misses, since = max(self.misses, 1), min(self.missed_since, at)
        doubted = replace(self, seen_by=None, misses=misses, missed_since=since, leave_reported_at=at)
        return replace(doubted, gone=self._with_gone(sid))

    def overtaken(self, sid: str, joined_ms: int) -> Presence:
        """The participant `sid` has joined. Even if it has left already, no earlier participant is here any longer."""
        if sid not in self.gone or sid == self.sid or joined_ms <= self.joined_ms:
            return self
        return replace(self.void(), joined_ms=joined_ms)

    def missed(self, asked_at: float, *, is_watched: bool) -> Presence:
        """A listing requested at `asked_at` lacked this identity. Later reports take precedence.

        `is_watched`: the manager in the room sees it, or may not see it yet, so that it stays here.
        """
        if self.reported_at is not None and self.reported_at >= asked_at:
            return self
        told_at = None if self.is_replaced else self.leave_reported_at
        if self.sid is not None and told_at is not None and asked_at >= told_at:
            return self._without(Departure(self.sid, told_at, None))
        misses = min(self.misses + 1, MISSES_MAX)
        missed = self if misses == self.misses else replace(self, misses=misses)
        missed = missed if asked_at >= self.missed_since else replace(missed, missed_since=asked_at)
        if self.sid is None or is_watched or not missed.is_missed_for_good(asked_at):
            return missed
        return self._empty(Departure(self.sid, -math.inf, None))

    def is_missed_for_good(self, asked_at: float) -> bool:
        """Whether enough listings lacked it, up to one requested at `asked_at`."""
        is_successor = any(sid != self.sid for sid in self.gone)
        missed_for = SUCCESSOR_MISSED_FOR if is_successor else MISSED_FOR
        return self.misses == MISSES_MAX and asked_at >= self.missed_since + missed_for

    def found(self) -> Presence:
        """Earlier listings that lacked it no longer count."""
        return replace(self, misses=0, missed_since=math.inf) if self.misses else self

    def void(self) -> Presence:
        """No participant is here any longer, and none of the earlier ones can return."""
        return Presence(gone=self._with_gone(self.sid) if self.sid else self.gone)

    def _is_back(self, sid: str, shown_at: float | None, by: str | None) -> bool:
        return self.sid is None and self.last is not None and self.last.is_refuted(sid, shown_at, by)

    def _checked(self, shown_at: float | None, by: str | None) -> Presence:
        """Without the reported leave if the participant was shown in the room late enough afterwards."""
        if self.sid is None or self.leave_reported_at is None:
            return self
        is_refuted = Departure(self.sid, self.leave_reported_at, None).is_refuted(self.sid, shown_at, by)
        if not is_refuted:
            return self
        gone = tuple(one for one in self.gone if one != self.sid)
        may_be_unseen = self.may_be_unseen or self.seen_by is None
        return replace(self, leave_reported_at=None, gone=gone, may_be_unseen=may_be_unseen)

    def _without(self, departure: Departure) -> Presence:
        """The same when the leave was reported, so that late reports of the join are outdated."""
        return replace(self._empty(departure), gone=self._with_gone(departure.sid))

    def _empty(self, departure: Departure) -> Presence:
        return Presence(joined_ms=self.joined_ms, gone=self.gone, last=departure)

    def _with_gone(self, sid: str) -> tuple[str, ...]:
        return self.gone if sid in self.gone else (*self.gone, sid)[-REMEMBERED_LEAVES:]


class Removals(Frozen):
    """The tries to remove one participant. LiveKit may refuse it, or go on listing a participant that is gone, so the
    pauses between the tries grow."""

    sid: str = ""
    tries: int = 0
    retry_at: float = -math.inf

    def started(self, sid: str) -> Removals:
        return Removals(sid, self.tries + 1) if sid == self.sid else Removals(sid, 1)

    def ended(self, at: float) -> Removals:
        return replace(self, retry_at=at + doubling(self.tries, first=REMOVAL_PAUSE, most=REMOVAL_PAUSE_MAX))

    def due_at(self, sid: str | None) -> float:
        return self.retry_at if sid == self.sid else -math.inf


class Trespasser(Frozen):
    """A participant with a token of another session, whose room had the same name. It is removed."""

    identity: str
    sid: str
    removing: bool = False
    removals: Removals = Removals()


class Guest(Frozen):
    """A human besides the session's user who keeps the session."""

    identity: str
    presence: Presence = Presence()


class StaleParticipant(Frozen):
    """A service of an earlier attempt, or an earlier manager. If it is found in the room it is removed, because its
    token is still valid."""

    identity: str
    presence: Presence = Presence()
    not_before: float = -math.inf
    """It is not removed before this instant: it may still be waiting for the reply to its last signal."""
    removing: str | None = None
    """The sid of the participant that LiveKit was asked to remove, until it responds."""
    removals: Removals = Removals()
    service_id: str | None = None
    attempt: int | None = None
    """The service and the attempt that it belonged to; None for a manager or a surplus agent."""

    @property
    def removal_at(self) -> float:
        """When to remove it, if it is in the room."""
        return max(self.not_before, self.removals.due_at(self.presence.sid))

    @property
    def log_fields(self) -> dict[str, str | int]:
        """The fields of every log entry about it."""
        fields = {"identity": self.identity, "service_id": self.service_id, "attempt": self.attempt}
        return {name: value for name, value in fields.items() if value is not None}
