"""The door to the sessions: what a store does, what it tells its listeners, and the errors that it raises.

`update` is the only way a session changes. memory.py keeps the sessions in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from manager_agent.session.change_values import SessionChange
from manager_agent.session.changes import changes
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Event
from manager_agent.session.session import Session


@dataclass(frozen=True)
class Change:
    """One change of one session."""

    session_id: str
    before: Session | None
    """None: it is new."""
    after: Session | None
    """None: it is forgotten."""
    event: Event | None = None
    """What changed it; None when it is new, or forgotten."""

    @property
    def session(self) -> Session:
        """The session after the change; a forgotten one as it was last."""
        session = self.after or self.before
        assert session is not None, "a change is of a session"
        return session

    @cached_property
    def happened(self) -> tuple[SessionChange, ...]:
        """What happened in it: computed once for all listeners."""
        return tuple(changes(self.before, self.after, self.event))


Listener = Callable[[Change], None]


class UnknownSession(LookupError):
    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no session {session_id!r}")
        self.session_id = session_id


class RoomNameTaken(Exception):
    """The room name is in use, or was until a moment ago; free again in `retry_after` seconds at the earliest."""

    def __init__(self, room_name: str, retry_after: float) -> None:
        super().__init__(f"room name {room_name!r} is in use or was until a moment ago")
        self.room_name = room_name
        self.retry_after = retry_after


class Store(Protocol):
    @property
    def counts(self) -> SessionCounts:
        """Of the sessions as they are. For reading."""

    @property
    def waiters(self) -> int:
        """How many callers wait for a change of some session."""

    def listen(self, listener: Listener) -> None:
        """Call `listener` at every change of every session, in order and at once: it must not take long. A waiter
        (wait_for) may find that several changes were made. A listener that raises is logged and changes nothing."""

    async def add(self, session: Session) -> None:
        """Keep a new session. Raises RoomNameTaken."""

    async def update(self, session_id: str, event: Event) -> Session:
        """Apply `event` and return the session after it. Raises UnknownSession."""

    def remove(self, session_id: str) -> None:
        """Forget a session. Raises UnknownSession."""

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession."""

    def in_room(self, room_name: str) -> Session | None:
        """The session whose room has this name, or had it last."""

    def list(self) -> Iterator[Session]:
        """Every session, oldest first."""

    def in_use(self, service_id: str) -> int:
        """How many live sessions have this service reserved: from when it is chosen until the session is over."""

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Wait until the session is as wanted and return it. Raises UnknownSession, also while waiting."""
