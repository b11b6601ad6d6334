"""The manager of a session's room: the one in charge, or the one last dispatched.

PURE. A dispatch has no result, so a manager's progress is known only from events: its job was accepted, it was seen in
the room, it left. Only one manager at a time is in charge, and an earlier one never takes charge again.
"""

from __future__ import annotations

import math

from manager_agent.backoff import backoff, doubling
from manager_agent.frozen import Frozen, replace
from manager_agent.session.participant import Presence

ACCEPT_TIMEOUT = 2.0
"""Seconds for a dispatched job to be accepted. Doubles with every fruitless dispatch."""
ACCEPT_TIMEOUT_MAX = 30.0
JOIN_TIMEOUT = 30.0
"""Seconds from accepting a job to joining the room: the server's assignment (7.5), the connect (10), and the remainder
of an abandoned connect (10). The time in which its process lets other managers join first does not count."""
RETURN_TIMEOUT = 15.0
"""Seconds for a manager that was reported to have left to return: the SDK reconnects under the same identity. A manager
that gives up reports so itself, so the full time passes only when its process is gone."""
STAY = 10.0
"""Seconds in the room after which a manager's dispatch does not count as fruitless."""
SPENT_IDENTITIES_KEPT = 16


class ManagerDispatch(Frozen):
    attempt: int = 0
    identity: str | None = None
    awaited_since: float | None = None
    """When the latest manager was dispatched; None once it has joined or was given up."""
    accepted_at: float | None = None
    """When its job was accepted: from then on only this manager is in charge. None: no manager is."""
    waited_at: float | None = None
    """When it was last said that it waits for its turn to join."""
    presence: Presence = Presence()
    is_connected: bool = False
    """Whether it has reported itself from the room and has not reported the end of its connection since."""
    joined_at: float | None = None
    """When it was first seen in the room."""
    left_at: float | None = None
    """When it was last reported to have left."""
    fruitless: int = 0
    """Dispatches in a row whose manager did not join or did not stay."""
    dispatch_at: float = math.inf
    """When to dispatch again if no manager has taken charge by then."""
    spent: tuple[str, ...] = ()
    relieved_at: float | None = None
    """When a manager that was in the room was last replaced because it overlooked someone."""

    @property
    def in_charge(self) -> bool:
        return self.accepted_at is not None

    @property
    def is_joining(self) -> bool:
        """Whether it is in charge and was not in the room yet."""
        return self.in_charge and self.joined_at is None

    @property
    def is_taken_at_once(self) -> bool:
        """Whether the process that dispatched it takes its job before LiveKit offers it. Every second one in a row of
        fruitless dispatches is left to LiveKit: whatever fails here, the other way may work."""
        return self.awaited_since is not None and not self.in_charge and self.fruitless % 2 == 1

    @property
    def next_dispatch_at(self) -> float:
        """When to dispatch another manager unless something happens first."""
        if self.presence.here:
            return math.inf
        if self.accepted_at is None:
            return self.dispatch_at
        if self.left_at is not None:
            return self.left_at + RETURN_TIMEOUT
        return (self.accepted_at if self.waited_at is None else self.waited_at) + JOIN_TIMEOUT

    def dispatched(self, attempt: int, identity: str, at: float) -> ManagerDispatch:
        """The next manager was dispatched. The previous one is no longer in charge, see next_dispatch_at."""
        earlier = self.gone(at) if self.in_charge else self
        fruitless = earlier.fruitless + 1
        timeout = doubling(fruitless, first=ACCEPT_TIMEOUT, most=ACCEPT_TIMEOUT_MAX)
        return replace(
            earlier,
            attempt=attempt,
            identity=identity,
            awaited_since=at,
            fruitless=fruitless,
            dispatch_at=at + timeout,
            relieved_at=at if self.presence.here else self.relieved_at,
        )

    def due(self, at: float) -> ManagerDispatch:
        """The next one is to be dispatched at `at`, unless one is in charge or was dispatched and is awaited."""
        if self.attempt == 0 or self.in_charge or self.awaited_since is not None:
            return self
        return replace(self, dispatch_at=min(self.dispatch_at, at))

    def orphaned(self, due: float) -> ManagerDispatch:
        """It is a manager of a process that acts no more for the session. The next one is dispatched at `due`."""
        if self.attempt == 0:
            return self
        spent, identity = self.spent, self.identity or ""
        if identity not in spent:
            spent = (*spent, identity)[-SPENT_IDENTITIES_KEPT:]
        return ManagerDispatch(attempt=self.attempt, identity=self.identity, dispatch_at=due, spent=spent)

    def remade(self, identity: str, at: float) -> ManagerDispatch:
        """The room was lost with this manager and made again; the next one was dispatched with it."""
        spent = (*self.spent, self.identity or "")[-SPENT_IDENTITIES_KEPT:]
        return ManagerDispatch(spent=spent).dispatched(self.attempt + 1, identity, at)

    def accepted(self, identity: str, at: float) -> ManagerDispatch:
        """A dispatched job was accepted under this identity. Returns the same object if it is too late."""
        if self.attempt == 0 or self.in_charge or identity in self.spent:
            return self
        return replace(self, identity=identity, accepted_at=at)

    def waited(self, identity: str, at: float) -> ManagerDispatch:
        """It still waits for its turn to join."""
        is_news = self.waited_at is None or at > self.waited_at
        return replace(self, waited_at=at) if is_news and self.is_joining and identity == self.identity else self

    def seen(self, presence: Presence, at: float) -> ManagerDispatch:
        if presence is self.presence:
            return self
        joined_at = at if self.joined_at is None else self.joined_at
        return replace(self, presence=presence, joined_at=joined_at, awaited_since=None)

    def connected(self) -> ManagerDispatch:
        """It reported what it sees in the room."""
        return self if self.is_connected else replace(self, is_connected=True)

    def left(self, presence: Presence, at: float) -> ManagerDispatch:
        """It was reported to have left. It may return soon under the same identity."""
        if presence is self.presence:
            return self
        was_here = self.presence.here and not presence.here
        return replace(self, presence=presence, left_at=at if was_here else self.left_at)

    def gone(self, at: float) -> ManagerDispatch:
        """It is no longer in charge. The next dispatch is due after a pause, which grows as long as no manager
        stays."""
        stayed = self.joined_at is not None and at - self.joined_at >= STAY
        fruitless = 0 if stayed else self.fruitless
        identity = self.identity or ""
        return ManagerDispatch(
            attempt=self.attempt,
            identity=self.identity,
            fruitless=fruitless,
            dispatch_at=at + backoff(identity, fruitless) if fruitless else at,
            spent=(*self.spent, identity)[-SPENT_IDENTITIES_KEPT:],
            relieved_at=self.relieved_at,
        )
