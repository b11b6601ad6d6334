"""The truth about a simulation, and what must always hold. Every write, act and token passes here."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from manager_agent.replicas.lease import LEASE
from manager_agent.session.session import FAILURES, GIVES_TOKENS, EndReason, Session
from tests.simulation.callback_judge import CallbackJudge
from tests.simulation.history import FaultKind
from tests.simulation.invariants import Invariant, InvariantViolation
from tests.simulation.request_judge import RequestJudge
from tests.simulation.room_judge import RoomJudge

if TYPE_CHECKING:
    from tests.simulation.simulated_redis import SimulatedSession, Written
    from tests.simulation.world import World

TAKE_OVER_MAX = 10.0
"""Seconds after its death within which others own a replica's sessions, while Redis and they are well."""
RECOVERS_WITHIN = 25.0
"""Seconds after the last fault within which sessions that are awaited have their services."""
HARMLESS = frozenset({FaultKind.WEBHOOKS_LOST, FaultKind.LISTS_LAG, FaultKind.SERVICE_DOWN})
"""They keep no replica from doing its part in time."""
HINDER_TAKERS = frozenset(
    {
        FaultKind.REDIS_SLOW,
        FaultKind.REDIS_RESTART,
        FaultKind.REDIS_ROLLBACK,
        FaultKind.REDIS_EMPTY,
        FaultKind.CUT_FROM_REDIS,
        FaultKind.FREEZE,
    }
)
"""They may keep the heirs of a dead replica from taking over."""


@dataclass(eq=False, slots=True)
class SessionTruth:
    """What is known of one session."""

    acknowledged_at: float | None = None
    is_closing: bool = False
    """Whether the client has asked for its end."""
    user_here_since: float | None = None
    user_left_at: float | None = None
    gives_tokens: bool = False
    gave_tokens_until: float = -math.inf
    end: EndReason | None = None
    ended_at: float | None = None
    is_cleaned: bool = False
    was_rolled_back: bool = False
    """Whether Redis lost some of it."""
    room_lost: bool = False
    due_callbacks: list[int] | None = field(default_factory=list)
    """None: it can't be known which ones are due."""
    received: list[int] = field(default_factory=list)


class Judge:
    def __init__(self, world: World) -> None:
        self._world, self._heap = world, world.heap
        self.violations: list[InvariantViolation] = []
        self.sessions: dict[str, SessionTruth] = {}
        self.reasons: Counter[str] = Counter()
        self.acts = self.tokens = self.takes = self.writes = 0
        self._ready: set[tuple[str, str]] = set()
        self._in_use: Counter[str] = Counter()
        self._digest = hashlib.blake2b(digest_size=8)
        self._redis_slow_until = self.uneasy_until = self._takers_hindered_until = -math.inf
        """Until when a session's end, and a take-over, may take longer."""
        self.latest_fault_until = -math.inf
        self.callbacks, self.requests = CallbackJudge(world, self), RequestJudge(world, self)
        self.rooms = RoomJudge(world, self)

    def digest(self, *parts: object) -> None:
        self._digest.update(f"{self._heap.now:.6f} {parts}".encode())

    @property
    def printed(self) -> str:
        return self._digest.hexdigest()

    def violated(self, invariant: Invariant, about: str) -> None:
        self.violations.append(InvariantViolation(invariant, self._world.since_start, about))

    def truth(self, session_id: str) -> SessionTruth:
        return self.sessions[session_id]

    # --- faults ---

    def fault(self, kind: FaultKind, until: float) -> None:
        self.latest_fault_until = max(self.latest_fault_until, until)
        if kind not in HARMLESS:
            self.uneasy_until = max(self.uneasy_until, until)
        if kind is FaultKind.REDIS_SLOW:
            self._redis_slow_until = max(self._redis_slow_until, until)
        if kind in HINDER_TAKERS:
            self._takers_hindered_until = max(self._takers_hindered_until, until)

    def _was_disturbed(self) -> bool:
        """Whether a fault was so short ago that a session may not have got its services since."""
        return self.latest_fault_until + RECOVERS_WITHIN >= self._heap.now

    # --- writes ---

    def written(self, session_id: str, before: SimulatedSession | None, after: SimulatedSession | None) -> None:
        self.writes += 1
        was, now = (None if one is None else one.session for one in (before, after))
        if after is not None:
            self.digest("write", session_id, after.version, after.owner, after.fence, after.session.revision)
        else:
            self.digest("remove", session_id)
            self.callbacks.removed(session_id)
        if before is not None and after is not None and before.fence != after.fence:
            self.takes += 1
        if was is None and now is not None:
            self.sessions.setdefault(session_id, SessionTruth())
            self.requests.made(session_id)
        self._count(was, now)
        self._follow(session_id, was, now)

    def _count(self, was: Session | None, now: Session | None) -> None:
        """The services that are reserved, counted apart from Redis's own counters."""
        if was is not None and now is not None and was.services is now.services and was.over == now.over:
            return
        had, has = _in_use(was), _in_use(now)
        if had == has:
            return
        self._in_use.subtract(had)
        self._in_use.update(has)
        for service_id in has:
            used, capacity = self._in_use[service_id], self._world.services.capacities_of(service_id)
            if used > capacity:
                self.violated(Invariant.OVER_CAPACITY, f"{service_id} has {used} of {capacity}")

    def _follow(self, session_id: str, was: Session | None, now: Session | None) -> None:
        truth = self.sessions.get(session_id)
        if truth is None:
            return
        if now is None:
            if was is not None and not was.over:
                self.violated(Invariant.LOST_SESSION, f"{session_id} was removed while it was {was.state}")
            return
        if was is None or now.state_revision != was.state_revision:
            self._enters_state(truth, now, is_known=was is not None)
        if now.end is not None and (was is None or was.end is None):
            self._ended(session_id, truth, now, now.end.reason)
        truth.is_cleaned = now.is_cleaned_up

    def _enters_state(self, truth: SessionTruth, now: Session, *, is_known: bool) -> None:
        gives_tokens = now.state in GIVES_TOKENS
        if truth.gives_tokens and not gives_tokens:
            truth.gave_tokens_until = self._heap.now
        truth.gives_tokens = gives_tokens
        if is_known and truth.due_callbacks is not None:
            truth.due_callbacks.append(now.state_revision)

    def _ended(self, session_id: str, truth: SessionTruth, session: Session, reason: EndReason) -> None:
        now = self._heap.now
        truth.end, truth.ended_at = reason, now
        self.reasons[reason] += 1
        self.rooms.session_ended(session_id, session.room_name)
        if truth.acknowledged_at is not None and (why := self._is_untrue(session_id, truth, session, reason)):
            self.violated(Invariant.LOST_SESSION, f"{session_id} ended with {reason}, but {why}")

    def _is_untrue(self, session_id: str, truth: SessionTruth, session: Session, reason: EndReason) -> str:
        """Why the session should not have ended so; empty if it should."""
        now, limits = self._heap.now, session.limits
        if truth.was_rolled_back:
            return ""
        if reason is EndReason.CLOSED:
            return "" if truth.is_closing else "the client did not ask for it"
        if reason is EndReason.USER_LEFT and truth.user_here_since is not None:
            stayed = now - truth.user_here_since
            return f"the user has been there for {stayed:.1f} s" if stayed > limits.user_rejoin_timeout else ""
        if reason is EndReason.USER_NEVER_JOINED and truth.user_here_since is not None:
            stayed = now - truth.user_here_since
            return f"the user has been there for {stayed:.1f} s" if stayed > limits.user_rejoin_timeout else ""
        if reason is EndReason.ROOM_CLOSED:
            return "" if truth.room_lost else "LiveKit has not lost its room"
        if reason is EndReason.EXPIRED:
            return "it is not that old" if now < session.created_at + limits.max_duration else ""
        if reason in FAILURES:
            if session.room.created_at is None:
                return "it never had a room"
            is_calm = not self._was_disturbed() and session_id not in self._world.services.troubled
            return "nothing was wrong" if is_calm else ""
        return ""

    # --- losses ---

    def rolled_back(self, lost: Iterable[Written]) -> None:
        """Redis came back without these writes. What was told meanwhile counts no more."""
        self.requests.has_lost()
        for written in lost:
            current = self._world.redis.sessions.get(written.session_id)
            self._has_lost(written.session_id, current)

    def emptied(self, lost: Iterable[SimulatedSession]) -> None:
        self.requests.has_lost()
        for stored in lost:
            self._has_lost(stored.session.session_id, None)
        self._in_use.clear()

    def _has_lost(self, session_id: str, current: SimulatedSession | None) -> None:
        truth = self.sessions.get(session_id)
        if truth is None:
            return
        truth.was_rolled_back = True
        self.callbacks.has_lost(session_id)
        if truth.gives_tokens:
            truth.gave_tokens_until = self._heap.now
        truth.gives_tokens = current is not None and current.session.state in GIVES_TOKENS
        if current is not None and current.session.end is None:
            truth.end = truth.ended_at = None
            truth.is_cleaned = False

    def recount(self) -> None:
        """The services that are reserved, from what Redis has now."""
        sessions = self._world.redis.sessions.values()
        self._in_use = Counter(service_id for stored in sessions for service_id in _in_use(stored.session))

    # --- acts ---

    def acted(self, replica: str, session_id: str, fence: int, name: str) -> None:
        """A replica begins to do something in the world for a session."""
        self.acts += 1
        self.digest("act", replica, session_id, name)
        stored = self._world.redis.sessions.get(session_id)
        if stored is not None and (stored.owner, stored.fence) != (replica, fence):
            truth = self.sessions.get(session_id)
            if truth is not None and truth.was_rolled_back and stored.fence < fence:
                return  # Redis has lost that it was taken over
            self.violated(
                Invariant.TWO_OWNERS,
                f"{replica} ({fence}) did {name!r} for {session_id} of {stored.owner} ({stored.fence})",
            )

    def replica_died(self, replica: str) -> None:
        self._check_taken(replica, self._heap.now)

    def _check_taken(self, replica: str, died_at: float) -> None:
        """Its sessions have another owner, TAKE_OVER_MAX after its death, or after others could take them again."""
        due = max(died_at, self._takers_hindered_until + LEASE) + TAKE_OVER_MAX
        if self._heap.now < due:
            self._heap.at(due, self._check_taken, replica, died_at)
            return
        others = [one for one in self._world.live() if not one.is_draining]
        owned = self._world.redis.owned_by.get(replica)
        if owned and others:
            self.violated(Invariant.LATE_TAKE_OVER, f"{len(owned)} of {replica} after {self._heap.now - died_at:.1f} s")

    def taken_from_the_living(self, owner: str) -> None:
        if self._heap.now >= self._redis_slow_until + LEASE:
            self.violated(Invariant.NEEDLESS_TAKE_OVER, owner)

    # --- clients and services ---

    def said_ready(self, session_id: str, identity: str) -> None:
        self._ready.add((session_id, identity))

    def token_given(self, session: Session, asked_at: float) -> None:
        self.tokens += 1
        self.digest("token", session.session_id)
        truth = self.sessions[session.session_id]
        for service in session.services:
            if not service.optional and (session.session_id, service.identity or "") not in self._ready:
                self.violated(
                    Invariant.EARLY_TOKEN, f"{session.session_id}: {service.service_id} has not said that it is ready"
                )
        if not truth.gives_tokens and truth.gave_tokens_until < asked_at and not truth.was_rolled_back:
            self.violated(Invariant.STALE_TOKEN, f"{session.session_id} was not ready when it was asked")

    def not_found(self, session_id: str) -> None:
        """A client was told that its session, which was acknowledged and is not over, does not exist."""
        truth = self.sessions[session_id]
        if truth.end is None:
            self.violated(Invariant.LOST_SESSION, f"{session_id} is not known any more")

    def manager_joined(self, session_id: str) -> None:
        self.digest("manager", session_id)

    # --- the end ---

    def check_end(self) -> None:
        """Nothing happens any more: all sessions are over and gone, and all was told."""
        for session_id, truth in self.sessions.items():
            if truth.acknowledged_at is None and session_id not in self._world.redis.sessions:
                continue
            if truth.end is None:
                lost = session_id not in self._world.redis.sessions
                self.violated(Invariant.LOST_SESSION if lost else Invariant.NO_END, session_id)
            else:
                self.callbacks.check_end(session_id, truth)


def _in_use(session: Session | None) -> list[str]:
    return [] if session is None or session.over else [service.service_id for service in session.services]
