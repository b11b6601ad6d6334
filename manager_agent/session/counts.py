"""Running counts of sessions by state, of live sessions by owner, and of the services that they use, so that no search
is needed. PURE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from manager_agent.session.session import Session, SessionState


class SessionCounts:
    def __init__(self) -> None:
        self.by_state: Counter[SessionState] = Counter()
        """All sessions requested by callers, including those that are over, without the health check's."""
        self._by_owner: Counter[str] = Counter()
        self._by_service: Counter[str] = Counter()
        self._making_by_owner: Counter[str] = Counter()
        self._listeners: list[Callable[[str], None]] = []
        self.live = 0
        self.in_making = 0
        """Live sessions whose room is not created yet."""

    def live_of(self, owner: str) -> int:
        return self._by_owner[owner]

    def in_making_of(self, owner: str) -> int:
        return self._making_by_owner[owner]

    def in_use(self, service_id: str) -> int:
        """The number of live sessions that have reserved this service: from its selection until the session is over."""
        return self._by_service[service_id]

    def listen(self, listener: Callable[[str], None]) -> None:
        """Tell `listener` the id of each service whose `in_use` changes, or may do so. It reads the number later."""
        self._listeners.append(listener)

    def count(self, before: Session | None, after: Session | None) -> None:
        """Count a session as it is after a change, instead of as it was before; None: there was none, or is none."""
        if before is not None and after is not None and _count_alike(before, after):
            return
        if before is not None:
            self._add(before, -1)
        if after is not None:
            self._add(after, 1)

    def _add(self, session: Session, number: int) -> None:
        self.by_state[session.state] += number * bool(session.owner)
        if session.over:
            return
        self.live += number
        _add(self._by_owner, session.owner, number)
        for service in session.services:
            _add(self._by_service, service.service_id, number)
            for listener in self._listeners:
                listener(service.service_id)
        if session.room.created_at is None:
            self.in_making += number
            _add(self._making_by_owner, session.owner, number)


def _count_alike(one: Session, other: Session) -> bool:
    if one.state is not other.state or one.owner != other.owner:
        return False
    if (one.room.created_at is None) is not (other.room.created_at is None):
        return False
    pairs = zip(one.services, other.services, strict=True)
    return all(service is another or service.service_id == another.service_id for service, another in pairs)


def _add(counts: Counter[str], name: str, number: int) -> None:
    counts[name] += number
    if not counts[name]:
        del counts[name]  # otherwise unused names would accumulate
