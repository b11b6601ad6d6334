"""The upstreams that this server depends on, and whether they are available. Currently LiveKit.

They are checked once per second, so that `since` is accurate at any time and listeners learn of changes promptly.
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
"""Seconds between two checks."""


class DependencyState(StrEnum):
    UP = "up"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A system that this server depends on."""

    name: str
    trouble: Callable[[], str | None]
    """Why it is unavailable, or None when it is available. Shown to every caller: it must contain no address and no
    secret. Must not block."""


@dataclass(frozen=True, slots=True)
class Found:
    """The status of an upstream at the last check."""

    name: str
    since: float
    """When it was first seen in this state."""
    trouble: str | None

    @property
    def state(self) -> DependencyState:
        return DependencyState.UP if self.trouble is None else DependencyState.AWAY


def livekit(is_registered: Callable[[], bool], answers: Callable[[], bool]) -> Upstream:
    """LiveKit as an upstream: available when the manager agent is registered and the last API call succeeded."""

    def trouble() -> str | None:
        if not is_registered():
            return "the manager agent is not registered with LiveKit"
        return None if answers() else "LiveKit does not respond to requests for its list of rooms"

    return Upstream("livekit", trouble)


class Upstreams:
    def __init__(self, upstreams: Sequence[Upstream], clock: Clock) -> None:
        self._upstreams, self._clock = upstreams, clock
        self._listeners: list[Callable[[], None]] = []
        self._tasks = Tasks()
        now = clock()
        self.found = tuple(Found(one.name, now, one.trouble()) for one in upstreams)
        """The status of each upstream, in the given order. Read-only."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the status of an upstream changes. It must not block."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="dependencies")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def look(self) -> None:
        """Check every upstream, and call the listeners if a status changed."""
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
