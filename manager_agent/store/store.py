"""The interface of a store: what it does, what it passes to its listeners, and the errors that it raises.

`change` is the only way a session changes. memory.py keeps the sessions in this process, redis.py shares them with
other replicas: then every write may raise RedisAway too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from manager_agent.not_acting import NotActing
from manager_agent.session.change_values import SessionChange, SessionRestored
from manager_agent.session.changes import changes
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.session import Session


@dataclass(frozen=True)
class Change:
    """One change of one session."""

    session_id: str
    before: Session | None
    """None: the session is new."""
    after: Session | None
    """None: the session was removed."""
    event: Event | None = None
    """The event that changed it; None when the session is new or was removed."""
    is_restored: bool = False
    """Whether it is new here only: another process had it before."""
    recorded_revision: int | None = None
    """The revision with which a restored session entered the state that its record has. None: its present state."""
    is_remote: bool = False
    """Whether another replica made it; its event is not known here."""

    @property
    def session(self) -> Session:
        """The session after the change; a removed one as it was before."""
        session = self.after or self.before
        assert session is not None, "a change has a session"
        return session

    @property
    def changes_nothing(self) -> bool:
        """Whether the event had no effect: then no listener is called."""
        return self.after is self.before

    @property
    def ends_clean_up(self) -> bool:
        """Whether the session is over and cleaned up with it."""
        was_cleaned_up = self.before is not None and self.before.is_cleaned_up
        return self.after is not None and self.after.is_cleaned_up and not was_cleaned_up

    @cached_property
    def parts(self) -> tuple[SessionChange, ...]:
        """Everything that changed, in the order to report it; computed once for all listeners."""
        return (SessionRestored(),) if self.is_restored else tuple(changes(self.before, self.after, self.event))


Listener = Callable[[Change], None]
Timing = Callable[[float], None]
"""Called with the seconds that each update took, including its listeners."""


def untimed(_: float) -> None:
    """Measure nothing."""


def local(listener: Listener) -> Listener:
    """Tells `listener` what this process changed, and nothing that another replica did: that one reports it."""
    return lambda change: None if change.is_remote else listener(change)


class UnknownSession(LookupError):
    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id!r}")
        self.session_id = session_id


class SessionUnreadable(NotActing, UnknownSession):
    """A newer version of the program has written the session. Replicas of that version act for it and can show it."""

    def __init__(self, session_id: str) -> None:
        UnknownSession.__init__(self, session_id)

    def __str__(self) -> str:
        return f"the session {self.session_id!r} is of a newer version of this program"


class RoomNameTaken(Exception):
    """The room name is in use or was until recently; it is free in `retry_after` seconds at the earliest."""

    def __init__(self, room_name: str, retry_after: float) -> None:
        super().__init__(f"room name {room_name!r} is in use or was until a moment ago")
        self.room_name = room_name
        self.retry_after = retry_after


class Full(Exception):
    """A counter of all replicas has reached its limit: of a service, a caller or the deployment (counters.py)."""

    def __init__(self, counter: str) -> None:
        super().__init__(f"{counter} is full")
        self.counter = counter


class Store(Protocol):
    @property
    def counts(self) -> SessionCounts:
        """Counts of the current sessions, read-only."""

    @property
    def waiters(self) -> int:
        """The number of callers in wait_for."""

    def listen(self, listener: Listener) -> None:
        """Call `listener` synchronously with every change of every session, in order; it must be quick. (wait_for may
        skip changes.) An exception of a listener is logged and has no other effect."""

    def freeze(self) -> None:
        """Keep every session as it is now, for good: `add`, `update` and `wait_for` raise NotActing from now on, also
        for those that wait already."""

    @property
    def is_frozen(self) -> bool:
        """Whether `freeze` was called."""

    async def add(self, session: Session) -> None:
        """Keep a new session. Raises RoomNameTaken, Full, NotActing."""

    async def restore(self, session: Session, recorded_revision: int | None = None) -> None:
        """Keep a session that another process had. Its room has its name, whatever else is known of the name.
        `recorded_revision`: see Change."""

    async def change(self, session_id: str, event: Event) -> Change:
        """Apply `event`. If that changes nothing, which is known for sure, both sessions of the change are the same.
        Raises UnknownSession, Full, NotActing."""

    async def update(self, session_id: str, event: Event) -> Session:
        """`change`, and return the session after it."""

    async def remove(self, session_id: str) -> None:
        """Remove a session. Raises UnknownSession."""

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession."""

    def in_room(self, room_name: str) -> Session | None:
        """The session whose room has this name, or was the last to have it."""

    def name_free_in(self, room_name: str, tenant: str) -> float:
        """Seconds until `add` takes a session of this tenant with this room name, at the earliest; 0 if now."""

    def list(self) -> Iterator[Session]:
        """Every session, oldest first."""

    def newest(self, before: str | None = None) -> Iterator[Session]:
        """Every session with an id before this one, by its id, the latest first. Look no further than is needed, and
        only until the next change of any session."""

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Wait until `wanted(session)` is true and return the session. Raises UnknownSession and NotActing, also while
        waiting."""
