"""Requests that wait for a session: how many at once, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from http_api.errors import Overloaded
from manager_agent.session import GIVES_TOKENS, Session
from manager_agent.store import MemoryStore


class Waiters:
    """Everybody who is kept waiting over HTTP, for an answer or for the next event: one bound for all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """For the time that one waits. Raises Overloaded when all are taken."""
        if self.count >= self._most:
            raise Overloaded(f"{self._most} requests are waiting already (WAITERS_MAX)")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def until(
    store: MemoryStore, session_id: str, wanted: Callable[[Session], bool], patience: float | None
) -> Session:
    """The session once it is as wanted, or as it is after `patience` seconds (None: no matter how long it takes).
    Raises UnknownSession, also while waiting."""
    try:
        async with asyncio.timeout(patience):
            return await store.wait_for(session_id, wanted)
    except TimeoutError:
        return store.get(session_id)


def decided(session: Session) -> bool:
    """It is known whether the user gets in."""
    return session.over or session.state in GIVES_TOKENS
