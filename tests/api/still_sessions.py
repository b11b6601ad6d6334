"""Sessions without a control loop, changed by the test alone; the server's tasks; and time that passes at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from http_api.access.principals import DEVELOPER
from http_api.streams.followers import FOLLOWERS
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import Event
from manager_agent.session.session import Session, User
from manager_agent.store.store import UnknownSession
from tests.api.stand_ins import Api
from tests.unit.sessions import ASR, JOINS, invited, managed, seen
from tests.waiting import waiting_for

SERVER_TASKS = ("RequestHandler.start", "RequestHandler._handle_request")


@dataclass
class StillSession:
    """A session that waits for a service and changes only by the events of its test."""

    api: Api
    session_id: str

    @property
    def path(self) -> str:
        """Below /api/v1."""
        return f"/sessions/{self.session_id}"

    @property
    def now(self) -> Session:
        return self.api.parts.store.get(self.session_id)

    @property
    def tag(self) -> str:
        return f'W/"{self.now.revision}"'

    async def happens(self, *events: Event) -> Session:
        for event in events:
            await self.api.parts.store.update(self.session_id, event)
        return self.now

    async def becomes_ready(self) -> Session:
        return await self.happens(seen("sm-asr-1", "PA_1", self.api.parts.clock()))

    async def user_comes(self, time: int = 1) -> Session:
        return await self.happens(seen("alice", f"PA_alice_{time}", self.api.parts.clock()))

    async def user_goes(self, time: int = 1) -> Session:
        return await self.happens(ev.ParticipantLeft(self.api.parts.clock(), "alice", f"PA_alice_{time}"))

    async def ends(self) -> Session:
        return await self.happens(ev.SessionClosed(self.api.parts.clock()))

    @property
    def waiters(self) -> int:
        """How many wait for a session to change: requests, and streams that have sent what there is."""
        streams = self.api.app[FOLLOWERS]._waiting.get(self.session_id, ())
        return self.api.parts.store.waiters + sum(one.seen == str(self.now.revision) for one in streams)

    async def has_waiters(self, how_many: int) -> None:
        """Return once so many wait for the session to change."""
        async with waiting_for(f"{how_many} waiters", lambda: self.waiters):
            while self.waiters != how_many:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def still_session(api: Api, session_id: str = "ses_still", **fields: Any) -> AsyncIterator[StillSession]:
    now = api.parts.clock()
    still = StillSession(api, session_id)
    asked = Session(session_id, f"room-{session_id}", User("alice"), now, (JOINS,), owner=DEVELOPER.name)
    await api.parts.store.add(replace(asked, **fields))
    await still.happens(*managed(now), *invited(ASR, at=now))
    yield still
    with suppress(UnknownSession):
        await api.parts.store.remove(session_id)


def server_tasks() -> set[asyncio.Task[Any]]:
    """The tasks that serve connections: one or two of aiohttp for each."""
    return {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") in SERVER_TASKS}


def time_passes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the loop's clock ahead by so many seconds: what was due in that time happens now."""
    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + seconds)
