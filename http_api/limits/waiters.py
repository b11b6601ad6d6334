"""Requests that wait for a session: limit how many wait at once, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from http_api.access.principals import Principal
from http_api.errors import Overloaded, TooManyStreams
from http_api.stopping import TimeLimits
from manager_agent.not_acting import NotActing
from manager_agent.session.session import GIVES_TOKENS, Session
from manager_agent.store.store import Store

STREAMS_SHARE = 10
"""One caller's streams may use at most one in this many slots, because a stream can last indefinitely."""


class Waiters:
    """All requests that wait for a response or for the next event, with one common limit."""

    def __init__(self, most: int) -> None:
        self._most, self._streams_most = most, max(1, most // STREAMS_SHARE)
        self._streams = Counter[str]()
        """The number of open streams of each caller, by name."""
        self.count = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Occupy a slot while waiting. Raises Overloaded when all slots are taken."""
        self._take_slot()
        try:
            yield
        finally:
            self.count -= 1

    def stream_begins(self, principal: Principal) -> None:
        """Occupy a slot until `stream_ends`. Raises TooManyStreams when the caller has its share, and Overloaded."""
        if self._streams[principal.name] >= self._streams_most and not principal.is_trusted:
            raise TooManyStreams(self._streams_most)
        self._take_slot()
        self._streams[principal.name] += 1

    def stream_ends(self, principal: Principal) -> None:
        self.count -= 1
        self._streams[principal.name] -= 1
        if not self._streams[principal.name]:
            del self._streams[principal.name]

    def _take_slot(self) -> None:
        if self.count >= self._most:
            raise Overloaded(f"{self._most} requests are already waiting (WAITERS_MAX)")
        self.count += 1


async def until(
    store: Store, session_id: str, wanted: Callable[[Session], bool], max_wait: float | None, limits: TimeLimits
) -> Session:
    """The session once `wanted` is true of it, or its current state after `max_wait` seconds (None: no limit), once
    `limits` are reached, or when another process has taken over. Raises UnknownSession, also while waiting."""
    try:
        async with limits.timeout(max_wait):
            return await store.wait_for(session_id, wanted)
    except (TimeoutError, NotActing):
        return store.get(session_id)


def decided(session: Session) -> bool:
    """Whether the session has an outcome: its user gets a token, or it is over."""
    return session.over or session.state in GIVES_TOKENS


WAITERS = web.AppKey("WAITERS", Waiters)
