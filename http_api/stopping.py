"""The end of the process, as requests see it.

begun            /readyz and requests for new sessions get 503; all else goes on
`polls` reached  long polls are answered with what there is; streams are ended with them
`waits` reached  requests that wait for a session get 503
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from aiohttp import web

IS_STOPPING = "the session manager is stopping"


class LimitedWait:
    """A timeout among others that end at once. A class, as thousands of clients wait in one: a generator is larger."""

    __slots__ = ("_running", "_timeout")

    def __init__(self, running: set[asyncio.Timeout], seconds: float | None) -> None:
        self._running, self._timeout = running, asyncio.timeout(seconds)

    async def __aenter__(self) -> asyncio.Timeout:
        self._running.add(self._timeout)
        return await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._running.discard(self._timeout)
        await self._timeout.__aexit__(kind, error, at)


class TimeLimits:
    """Limits of waits that have something in common: `reach()` ends all of them at once."""

    def __init__(self) -> None:
        self._running = set[asyncio.Timeout]()
        self._is_reached = False

    def timeout(self, seconds: float | None) -> LimitedWait:
        """Like asyncio.timeout(). Raises TimeoutError after `seconds` (None: no limit), or once the limits are reached;
        then also at the first wait inside."""
        return LimitedWait(self._running, 0 if self._is_reached else seconds)

    def reach(self) -> None:
        self._is_reached = True
        now = asyncio.get_running_loop().time()
        for limit in self._running:
            if not limit.expired():
                limit.reschedule(now)


class Stopping:
    def __init__(self) -> None:
        self.polls, self.waits = TimeLimits(), TimeLimits()
        """Of long polls, and of requests that wait for a session."""
        self._begun = asyncio.Event()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_begun(self) -> bool:
        """Whether the process was asked to end."""
        return self._begun.is_set()

    def begin(self) -> None:
        self._begun.set()

    async def begun(self) -> None:
        """Wait until the process is asked to end."""
        await self._begun.wait()

    def request_begins(self) -> None:
        """A request is under way."""
        self._under_way += 1
        self._idle.clear()

    def request_ends(self) -> None:
        """It is no longer."""
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def requests_done(self, seconds: float) -> None:
        """Wait until no request is under way, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()


STOPPING = web.AppKey("STOPPING", Stopping)


def close_connection(request: web.Request, response: web.StreamResponse) -> None:
    """Once the process is stopping, the client's next request needs a connection to another one."""
    if request.app[STOPPING].is_begun:
        response.force_close()
        response.headers["Connection"] = "close"  # aiohttp has decided on this header already
