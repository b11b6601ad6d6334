"""Where the sessions are kept: in memory, in one process, on one event loop.

`update` is the one door through which a session changes. It applies the event without an await between read
and write, and wakes everybody who waits for that session.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from manager_agent.clock import Clock
from manager_agent.events import Event
from manager_agent.plan import NAME_QUARANTINE
from manager_agent.session import Session
from manager_agent.transitions import apply


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


@dataclass(slots=True)
class _Record:
    """A session as it is, and the future that is done when it is that no more."""

    session: Session
    changed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def put(self, session: Session) -> None:
        self.session = session
        self.wake()
        self.changed = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.changed.done():
            self.changed.set_result(None)


class MemoryStore:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._by_room: dict[str, str] = {}
        self._in_use: Counter[str] = Counter()

    async def add(self, session: Session) -> None:
        """Keeps a new session. Raises RoomNameTaken."""
        holder = self.in_room(session.room_name)
        if holder is not None:
            gone_at = holder.end.cleaned_at if holder.end else None
            free_at = (self._clock() if gone_at is None else gone_at) + NAME_QUARANTINE
            if free_at > self._clock():
                raise RoomNameTaken(session.room_name, free_at - self._clock())
        self._records[session.session_id] = _Record(session)
        self._by_room[session.room_name] = session.session_id
        self._reserve(session)

    async def update(self, session_id: str, event: Event) -> Session:
        """Applies `event` and returns the session as it then is. Raises UnknownSession."""
        record = self._record(session_id)
        session = apply(record.session, event)
        if session is not record.session:
            self._release(record.session)
            self._reserve(session)
            record.put(session)
        return session

    def remove(self, session_id: str) -> None:
        """Forgets a session. Raises UnknownSession."""
        record = self._record(session_id)
        self._release(record.session)
        del self._records[session_id]
        if self._by_room.get(record.session.room_name) == session_id:
            del self._by_room[record.session.room_name]
        record.wake()

    def get(self, session_id: str) -> Session:
        """Raises UnknownSession."""
        return self._record(session_id).session

    def in_room(self, room_name: str) -> Session | None:
        """The session whose room has, or had last, this name."""
        session_id = self._by_room.get(room_name)
        return None if session_id is None else self._records[session_id].session

    def list(self) -> Iterator[Session]:
        """Every session, oldest first."""
        return (record.session for record in list(self._records.values()))

    def in_use(self, service_id: str) -> int:
        """How many live sessions have this service reserved: from when it is chosen until the session is over."""
        return self._in_use[service_id]

    async def wait_for(self, session_id: str, wanted: Callable[[Session], bool]) -> Session:
        """Waits until the session is as wanted and returns it. Raises UnknownSession, also while waiting."""
        while True:
            record = self._record(session_id)
            if wanted(record.session):
                return record.session
            await asyncio.shield(record.changed)

    def _reserve(self, session: Session) -> None:
        self._in_use.update(reserved(session))

    def _release(self, session: Session) -> None:
        for service_id in reserved(session):
            self._in_use[service_id] -= 1
            if not self._in_use[service_id]:
                del self._in_use[service_id]  # ids that are unique per instance would pile up

    def _record(self, session_id: str) -> _Record:
        try:
            return self._records[session_id]
        except KeyError:
            raise UnknownSession(session_id) from None


def reserved(session: Session) -> list[str]:
    """The services that a session takes up, by id."""
    return [] if session.over else [service.service_id for service in session.services]
