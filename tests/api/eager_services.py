"""Services that lose no time: for tests in which what they say is of no interest."""

from __future__ import annotations

import asyncio

from manager_agent.session.events import DeadlinePassed, Evidence, ServiceSignalled, Signal
from manager_agent.session.session import ServiceState, Session
from manager_agent.store.store import Change, Store


def let_nobody_wait(store: Store) -> None:
    """Services that are called say that they are ready at once; a session that needs an agent is out of time."""
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
