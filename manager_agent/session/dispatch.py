"""Who watches a session's room: the manager that is in charge, or was dispatched last.

PURE. Dispatching is fire and forget, so a manager is known by what happens: its job was accepted, it was seen
in the room, it left. Only one at a time is in charge, and none of those that had their turn comes back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from manager_agent.backoff import backoff
from manager_agent.session.participant import Presence

ACCEPT_TIMEOUT = 2.0
"""Seconds for a dispatched job to be accepted; doubles with every dispatch that failed."""
ACCEPT_TIMEOUT_MAX = 30.0
JOIN_TIMEOUT = 30.0
"""Seconds from accepting a job to being in the room: the server's assignment (7.5), the connect (10), and what
is left of one that was given up (10)."""
RETURN_TIMEOUT = 15.0
"""Seconds for a manager that was told to have left to be back: the SDK reconnects under the same identity. One that
has given up says so itself, so this long it takes only when its process is gone."""
STAY = 10.0
"""Seconds in the room after which a manager has not come for nothing."""
SPENT_IDENTITIES_KEPT = 16


@dataclass(frozen=True, slots=True)
class ManagerDispatch:
    attempt: int = 0
    identity: str | None = None
    awaited_since: float | None = None
    """When the latest was dispatched; None once one has come, or was given up."""
    accepted_at: float | None = None
    """When its job was accepted: from then on it alone is in charge. None: no manager is."""
    presence: Presence = Presence()
    came_at: float | None = None
    """When it was first seen in the room."""
    left_at: float | None = None
    """When it was last told to have left."""
    fruitless: int = 0
    """Dispatches in a row whose manager did not come, or did not stay."""
    dispatch_at: float = math.inf
    """When to dispatch again if no manager has taken charge by then."""
    spent: tuple[str, ...] = ()

    @property
    def in_charge(self) -> bool:
        return self.accepted_at is not None

    @property
    def next_dispatch_at(self) -> float:
        """When another one is to be dispatched unless something happens before."""
        if self.presence.here:
            return math.inf
        if self.accepted_at is None:
            return self.dispatch_at
        return self.accepted_at + JOIN_TIMEOUT if self.left_at is None else self.left_at + RETURN_TIMEOUT

    def dispatched(self, attempt: int, identity: str, at: float) -> ManagerDispatch:
        """The next one is on its way. The one in charge had its time, see next_dispatch_at."""
        earlier = self.gone(at) if self.in_charge else self
        fruitless = earlier.fruitless + 1
        timeout = min(ACCEPT_TIMEOUT * 2.0 ** (fruitless - 1), ACCEPT_TIMEOUT_MAX)
        return replace(
            earlier,
            attempt=attempt,
            identity=identity,
            awaited_since=at,
            fruitless=fruitless,
            dispatch_at=at + timeout,
        )

    def accepted(self, identity: str, at: float) -> ManagerDispatch:
        """A dispatched job was accepted under this identity. The same object if it comes too late for that."""
        if self.attempt == 0 or self.in_charge or identity in self.spent:
            return self
        return replace(self, identity=identity, accepted_at=at)

    def seen(self, presence: Presence, at: float) -> ManagerDispatch:
        if presence is self.presence:
            return self
        came_at = at if self.came_at is None else self.came_at
        return replace(self, presence=presence, came_at=came_at, awaited_since=None)

    def left(self, presence: Presence, at: float) -> ManagerDispatch:
        """It was told to have left: it may be back in a moment, under the same identity."""
        was_here = self.presence.here and not presence.here
        return replace(self, presence=presence, left_at=at if was_here else self.left_at)

    def gone(self, at: float) -> ManagerDispatch:
        """It is not in charge any more. The next one is due after a pause that grows as long as none stays."""
        stayed = self.came_at is not None and at - self.came_at >= STAY
        fruitless = 0 if stayed else self.fruitless
        identity = self.identity or ""
        return ManagerDispatch(
            attempt=self.attempt,
            identity=self.identity,
            fruitless=fruitless,
            dispatch_at=at + backoff(identity, fruitless) if fruitless else at,
            spent=(*self.spent, identity)[-SPENT_IDENTITIES_KEPT:],
        )
