"""A session in one line, for messages of failed waits."""

from __future__ import annotations

from manager_agent.session.session import Session


def in_short(session: Session) -> str:
    """State, end, manager and services."""
    services = [
        f"{service.service_id or service.type} {service.state}, attempt {service.attempt}, "
        f"{'in the room' if service.presence.here else 'not in the room'}"
        for service in session.services
    ]
    manager = f"{session.manager.identity}, {'in the room' if session.manager.presence.here else 'not in the room'}"
    return f"{session.session_id} {session.state}, end {session.end}, manager {manager}, services {services}"
