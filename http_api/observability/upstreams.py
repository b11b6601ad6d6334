"""What this server can't do without, and whether it is there: LiveKit, and whatever is added to the list.

Looked at once a second, so that `since` is right whoever asks, and whoever wants to know of a change is told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from aiohttp import web

from manager_agent.clock import Clock
from manager_agent.tasks import Tasks

log = structlog.get_logger()

INTERVAL = 1.0
"""Seconds between two looks."""


class DependencyState(StrEnum):
    UP = "up"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One of them."""

    name: str
    trouble: Callable[[], str | None]
    """What is wrong with it, for every caller to read: no address, no secret. None: nothing. Must return at once."""


@dataclass(frozen=True, slots=True)
class Found:
    """How one of them was at the last look."""

    name: str
    since: float
    """When it was first seen in this state."""
    trouble: str | None

    @property
    def state(self) -> DependencyState:
        return DependencyState.UP if self.trouble is None else DependencyState.AWAY


def livekit(is_registered: Callable[[], bool], answers: Callable[[], bool]) -> Upstream:
    """LiveKit is there when the manager agent is registered with it, and its API answered when it was last asked."""

    def trouble() -> str | None:
        if not is_registered():
            return "the manager agent is not registered with LiveKit"
        return None if answers() else "LiveKit does not answer when it is asked for its rooms"

    return Upstream("livekit", trouble)


class Upstreams:
    def __init__(self, upstreams: Sequence[Upstream], clock: Clock) -> None:
        self._upstreams, self._clock = upstreams, clock
        self._listeners: list[Callable[[], None]] = []
        self._tasks = Tasks()
        now = clock()
        self.found = tuple(Found(one.name, now, one.trouble()) for one in upstreams)
        """In the order in which they were given. For reading."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever one of them is found otherwise than before; it must return at once."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="dependencies")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def look(self) -> None:
        """Sees how each of them is, and tells the listeners if that is another than before."""
        now = self._clock()
        before, pairs = self.found, zip(self._upstreams, self.found, strict=True)
        self.found = tuple(_looked_at(upstream, known, now) for upstream, known in pairs)
        changes = [after for known, after in zip(before, self.found, strict=True) if after != known]
        for one in changes:
            if one.state is DependencyState.UP:
                log.info("dependency_up", upstream=one.name)
            else:
                log.warning("dependency_away", upstream=one.name, why=one.trouble)
        for listener in self._listeners if changes else ():
            listener()

    async def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                log.exception("dependencies_fault")
            await asyncio.sleep(INTERVAL)


def _looked_at(upstream: Upstream, before: Found, now: float) -> Found:
    found = Found(upstream.name, before.since, upstream.trouble())
    return found if found.state is before.state else Found(found.name, now, found.trouble)


UPSTREAMS = web.AppKey("UPSTREAMS", Upstreams)
