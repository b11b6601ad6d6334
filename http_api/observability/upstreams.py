"""The upstreams that this server depends on, and whether they are available: LiveKit, and Redis if there are replicas.

They are checked once per second, so that `since` is accurate at any time and listeners learn of changes promptly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog
from aiohttp import web

from manager_agent.clock import Clock
from manager_agent.tasks import Tasks

log = structlog.get_logger()

REDIS = "redis"
INTERVAL = 1.0
"""Seconds between two checks."""


class DependencyState(StrEnum):
    UP = "up"
    AWAY = "away"
    REFUSES_WRITES = "refuses_writes"
    """It serves, but takes nothing new."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A system that this server depends on."""

    name: str
    why_away: Callable[[], str | None]
    """Why it is unavailable, or None when it is available. Shown to every caller: it must contain no address and no
    secret. Must not block."""
    why_no_writes: Callable[[], str | None] = lambda: None
    """Why it refuses writes while it is available, in the same way."""

    def status(self, since: float) -> UpstreamStatus:
        if (why := self.why_away()) is not None:
            return UpstreamStatus(self.name, since, DependencyState.AWAY, why)
        if (why := self.why_no_writes()) is not None:
            return UpstreamStatus(self.name, since, DependencyState.REFUSES_WRITES, why)
        return UpstreamStatus(self.name, since, DependencyState.UP, None)


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """The status of an upstream at the last check."""

    name: str
    since: float
    """When it was first seen in this state."""
    state: DependencyState
    detail: str | None
    """Why it is unavailable or refuses writes, or None when it is up."""


def livekit(
    is_registered: Callable[[], bool], answers: Callable[[], bool], rejection: Callable[[], str | None]
) -> Upstream:
    """LiveKit as an upstream: available when the manager agent is registered and the last API call succeeded.
    `rejection`: why LiveKit does not accept our keys, if so."""

    def why_away() -> str | None:
        if (why := rejection()) is not None:
            return f"LiveKit rejects the session manager: {why}"
        if not is_registered():
            return "the manager agent is not registered with LiveKit"
        return None if answers() else "LiveKit does not respond to requests for its list of rooms"

    return Upstream("livekit", why_away)


def redis(why_away: Callable[[], str | None], why_no_writes: Callable[[], str | None]) -> Upstream:
    """Redis as an upstream. `why_away`: why commands fail at the moment; None if they do not. `why_no_writes`: why
    those fail that write."""
    return Upstream(REDIS, why_away, why_no_writes)


class Upstreams:
    def __init__(
        self, upstreams: Sequence[Upstream], clock: Clock, beside: Callable[[], object] = lambda: None
    ) -> None:
        """`beside`: something else whose changes the listeners are told of."""
        self._upstreams, self._clock = upstreams, clock
        self._beside, self._known_beside = beside, beside()
        self._listeners: list[Callable[[], None]] = []
        self._tasks = Tasks()
        now = clock()
        self.statuses = tuple(one.status(now) for one in upstreams)
        """The status of each upstream, in the given order. Read-only."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the status of an upstream changes. It must not block."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self._tasks.spawn(self._run(), name="dependencies")

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def check(self) -> None:
        """Check every upstream, and call the listeners if a status, or what is beside them, has changed."""
        now, beside_before, self._known_beside = self._clock(), self._known_beside, self._beside()
        before, pairs = self.statuses, zip(self._upstreams, self.statuses, strict=True)
        self.statuses = tuple(_checked(upstream, known, now) for upstream, known in pairs)
        changes = [(known, after) for known, after in zip(before, self.statuses, strict=True) if after != known]
        for known, one in changes:
            if one.state is DependencyState.AWAY:
                log.warning("dependency_away", upstream=one.name, why=one.detail)
            elif known.state is DependencyState.AWAY:
                log.info("dependency_up", upstream=one.name)
        for listener in self._listeners if changes or self._known_beside != beside_before else ():
            listener()

    async def _run(self) -> None:
        while True:
            try:
                self.check()
            except Exception:
                log.exception("dependencies_fault")
            await asyncio.sleep(INTERVAL)


def _checked(upstream: Upstream, before: UpstreamStatus, now: float) -> UpstreamStatus:
    status = upstream.status(before.since)
    return status if status.state is before.state else replace(status, since=now)


UPSTREAMS = web.AppKey("UPSTREAMS", Upstreams)
