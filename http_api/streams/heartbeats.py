"""The heartbeats of all streams, with one timer for all: thousands may be open, and wait for nothing but this most of
the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Protocol

from aiohttp import web

from manager_agent.tasks import Tasks

HEARTBEAT = 15.0
"""Seconds without an event until a comment shows the client and any proxies that the stream is alive."""


class BeatingStream(Protocol):
    async def send_heartbeat(self) -> None:
        """Must not wait. Raises ConnectionError when the client is gone."""


class Heartbeats:
    def __init__(self) -> None:
        self._due: dict[BeatingStream, float] = {}
        """When the heartbeat of each stream is due, by the loop's time, the first first: all wait equally long."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks()

    def restart(self, stream: BeatingStream) -> None:
        """The stream sends something now, and its next heartbeat is due HEARTBEAT seconds later."""
        self._due.pop(stream, None)
        self._due[stream] = asyncio.get_running_loop().time() + HEARTBEAT
        self._set_timer()

    def stop(self, stream: BeatingStream) -> None:
        """It needs none, until it is restarted."""
        self._due.pop(stream, None)

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.aclose()

    def _set_timer(self) -> None:
        """A timer for the first. It may be too early then, but never too late: the first is not moved ahead."""
        if self._timer is None and self._due:
            first = next(iter(self._due.values()))
            self._timer = asyncio.get_running_loop().call_at(first, self._send_due)

    def _send_due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        due = list(takewhile(lambda stream: self._due[stream] <= now, self._due))
        for stream in due:
            del self._due[stream]
            self._due[stream] = now + HEARTBEAT
        if due:
            self._tasks.spawn(self._send(due, now + HEARTBEAT), name="heartbeats", for_all=True)
        self._set_timer()

    async def _send(self, due: Sequence[BeatingStream], next_due: float) -> None:
        for stream in due:
            if self._due.get(stream) == next_due:  # still open, and nothing was sent meanwhile
                with suppress(ConnectionError):  # its handler is cancelled
                    await stream.send_heartbeat()
                await asyncio.sleep(0)  # thousands may be due


HEARTBEATS = web.AppKey("HEARTBEATS", Heartbeats)
