"""Running counts of sessions by state, of live sessions by owner, and of the services that they use, so that no search
is needed. PURE."""

from __future__ import annotations

from collections import Counter

from manager_agent.session.session import Session, SessionState


class SessionCounts:
    def __init__(self) -> None:
        self.by_state: Counter[SessionState] = Counter()
        """All sessions requested by callers, including those that are over, without the health check's."""
        self._by_owner: Counter[str] = Counter()
        self._by_service: Counter[str] = Counter()
        self._making_by_owner: Counter[str] = Counter()
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

    def enter(self, session: Session) -> None:
        self.by_state[session.state] += bool(session.owner)
        if not session.over:
            self.live += 1
            self._by_owner[session.owner] += 1
            self._by_service.update(service.service_id for service in session.services)
            if session.room.created_at is None:
                self.in_making += 1
                self._making_by_owner[session.owner] += 1

    def leave(self, session: Session) -> None:
        """Undo what `enter` counted for this state of the session."""
        self.by_state[session.state] -= bool(session.owner)
        if not session.over:
            self.live -= 1
            _subtract(self._by_owner, session.owner)
            for service in session.services:
                _subtract(self._by_service, service.service_id)
            if session.room.created_at is None:
                self.in_making -= 1
                _subtract(self._making_by_owner, session.owner)


def _subtract(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]  # otherwise unused names would accumulate
