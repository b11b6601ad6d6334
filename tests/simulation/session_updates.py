"""How a replica changes sessions: one change at a time for each, by compare-and-set around the pure `apply`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from manager_agent.session.events import Event
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from tests.simulation.simulated_redis import CallbackRecord, SimulatedSession

if TYPE_CHECKING:
    from tests.simulation.simulated_replica import SimulatedReplica

RETRY = 0.5
"""Seconds until the outcome of an action is written again when Redis was away."""
OWNER_POLL = 0.05
"""Seconds until a session that Redis has lost is written again: its owner puts it back."""

Updated = Callable[[SimulatedSession | None, bool], None]
"""Takes the session as it is then, None if it is not known or Redis was away, and whether it was changed."""


@dataclass(eq=False, slots=True)
class PendingUpdate:
    event: Event
    then: Updated | None
    fence: int | None
    """Under which ownership it is made; None: by any replica."""
    write: int
    is_kept: bool
    """Whether it is tried again until Redis answers and the replica may act: the outcome of an action, and what a
    manager saw, must not get lost."""


class SessionUpdates:
    def __init__(self, replica: SimulatedReplica) -> None:
        self._replica, self._redis, self._heap = replica, replica.world.redis, replica.world.heap
        self._waiting: dict[str, deque[PendingUpdate]] = {}

    def update(
        self, session_id: str, event: Event, then: Updated | None = None, *, fence: int | None, is_kept: bool = False
    ) -> None:
        pending = PendingUpdate(event, then, fence, self._replica.world.next_write(), is_kept)
        waiting = self._waiting.get(session_id)
        if waiting is not None:
            waiting.append(pending)
            return
        self._waiting[session_id] = deque([pending])
        self._work(session_id)

    def _work(self, session_id: str) -> None:
        waiting = self._waiting[session_id]
        while waiting:
            pending = waiting[0]
            stored = self._replica.read(session_id)
            if stored is None or not self._may(stored, pending):
                self._done(session_id, None, False)
                continue
            if pending.fence is not None and not self._replica.may_act:
                if pending.is_kept:
                    self._replica.later(RETRY, self._work, session_id)
                    return
                self._done(session_id, None, False)
                continue
            if pending.write in stored.writes:  # its answer was lost
                self._done(session_id, stored, True)
                continue
            after = apply(stored.session, pending.event)
            if after is stored.session:
                self._done(session_id, stored, False)
                continue
            command = partial(self._redis.swap, stored, after, _callbacks(stored.session, after), pending.write)
            self._replica.link.ask(command, partial(self._swapped, session_id, after), partial(self._away, session_id))
            return
        del self._waiting[session_id]

    def _may(self, stored: SimulatedSession, pending: PendingUpdate) -> bool:
        """Whether the session is still this replica's, if that is needed."""
        return pending.fence is None or (stored.owner, stored.fence) == (self._replica.id, pending.fence)

    def _swapped(self, session_id: str, after: Session, answer: tuple[bool, SimulatedSession | None, str]) -> None:
        written, stored, full = answer
        if self._replica.has_lost(session_id, stored):
            if self._redis.run != self._replica.run:
                self._replica.read_anew()
            self._replica.later(OWNER_POLL, self._work, session_id)
            return
        if stored is None:
            self._replica.forget(session_id)
            self._done(session_id, None, False)
        else:
            self._replica.learn(session_id, stored)
            if written:
                self._replica.has_written(session_id, after)
                self._done(session_id, stored, True)
            elif full:
                self._done(session_id, stored, False)
        self._work(session_id)

    def _away(self, session_id: str) -> None:
        pending = self._waiting[session_id][0]
        if pending.is_kept:
            self._replica.later(RETRY, self._work, session_id)
            return
        self._done(session_id, None, False)
        self._work(session_id)

    def _done(self, session_id: str, stored: SimulatedSession | None, changed: bool) -> None:
        pending = self._waiting[session_id].popleft()
        if pending.then is not None:
            pending.then(stored, changed)


def _callbacks(before: Session, after: Session) -> tuple[CallbackRecord, ...]:
    """The callback of each state that the session enters."""
    if after.state_revision == before.state_revision:
        return ()
    return (CallbackRecord(after.session_id, after.state_revision, after.over),)
