"""Services that become ready at once, for tests that are not about them."""

from __future__ import annotations

import asyncio

from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import DeadlinePassed, Evidence, ServiceSignalled, Signal
from manager_agent.session.session import Session
from manager_agent.store.store import Change, Store


def decide_at_once(store: Store) -> None:
    """Let invited services signal ready at once, and let sessions that need an agent run out of time."""
    under_way: set[asyncio.Task[None]] = set()

    async def decide(session: Session) -> None:
        now = session.state_since
        for service in session.services:
            if service.agent_name is not None and not service.optional:
                await store.update(session.session_id, DeadlinePassed(session.ready_deadline))
            elif service.identity is not None:
                await store.update(
                    session.session_id, ServiceSignalled(now, service.identity, Signal.READY, Evidence.HTTP)
                )

    def listen(change: Change) -> None:
        session = change.after
        if session is None or session.over:
            return
        if any(s.state in (ServiceState.INVITED, ServiceState.ACCEPTED) for s in session.services):
            under_way.add(task := asyncio.create_task(decide(session)))
            task.add_done_callback(under_way.discard)

    store.listen(listen)
