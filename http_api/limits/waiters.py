"""Requests that wait for a session: how many at once, and for how long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from http_api.access.principals import Principal
from http_api.errors import Overloaded, TooManyStreams
from manager_agent.session.session import GIVES_TOKENS, Session
from manager_agent.store.store import Store

STREAMS_SHARE = 10
"""One in so many of all places may be a stream of the same caller: it stays for as long as he likes."""


class Waiters:
    """Everybody who is kept waiting over HTTP, for an answer or for the next event: one bound for all."""

    def __init__(self, most: int) -> None:
        self._most, self._streams_most = most, max(1, most // STREAMS_SHARE)
        self._streams = Counter[str]()
        """How many streams each caller follows, by his name."""
        self.count = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For the time that one waits. Raises Overloaded when all are taken."""
        if self.count >= self._most:
            raise Overloaded(f"{self._most} requests are waiting already (WAITERS_MAX)")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    @contextmanager
    def stream(self, principal: Principal) -> Iterator[None]:
        """For the time that he follows a stream of events. Raises TooManyStreams when he has his share, and
        Overloaded."""
        if self._streams[principal.name] >= self._streams_most and not principal.is_trusted:
            raise TooManyStreams(self._streams_most)
        with self.waiting():
            self._streams[principal.name] += 1
            try:
                yield
            finally:
                self._streams[principal.name] -= 1
                self._streams += Counter()  # without who follows none


async def until(store: Store, session_id: str, wanted: Callable[[Session], bool], max_wait: float | None) -> Session:
    """The session once it is as wanted, or as it is after `max_wait` seconds (None: no matter how long it takes).
    Raises UnknownSession, also while waiting."""
    try:
        async with asyncio.timeout(max_wait):
            return await store.wait_for(session_id, wanted)
    except TimeoutError:
        return store.get(session_id)


def decided(session: Session) -> bool:
    """It is known whether the user gets in."""
    return session.over or session.state in GIVES_TOKENS


WAITERS = web.AppKey("WAITERS", Waiters)
