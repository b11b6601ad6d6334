"""How many sessions there are in which state, whose the live ones are, and which services they take up: counted, not
searched. PURE."""

from __future__ import annotations

from collections import Counter

from manager_agent.session.session import Session, SessionState


class SessionCounts:
    def __init__(self) -> None:
        self.by_state: Counter[SessionState] = Counter()
        """Sessions with an owner, also those that are over; not those of the health check."""
        self._by_owner: Counter[str] = Counter()
        self._by_service: Counter[str] = Counter()
        self.live = 0
        self.in_making = 0
        """Live sessions without a room as yet."""

    def live_of(self, owner: str) -> int:
        return self._by_owner[owner]

    def in_use(self, service_id: str) -> int:
        """How many live sessions have this service reserved: from when it is chosen until the session is over."""
        return self._by_service[service_id]

    def enter(self, session: Session) -> None:
        self.by_state[session.state] += bool(session.owner)
        if not session.over:
            self.live += 1
            self._by_owner[session.owner] += 1
            self._by_service.update(service.service_id for service in session.services)
            self.in_making += session.room.created_at is None

    def leave(self, session: Session) -> None:
        """Takes back what `enter` counted of this very state of a session."""
        self.by_state[session.state] -= bool(session.owner)
        if not session.over:
            self.live -= 1
            _subtract(self._by_owner, session.owner)
            for service in session.services:
                _subtract(self._by_service, service.service_id)
            self.in_making -= session.room.created_at is None


def _subtract(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]  # names that are used once would pile up
