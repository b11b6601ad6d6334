"""A wall clock that jumps by an hour expires nothing early, and LiveKit takes the tokens made afterwards.

LiveKit's clock is right; that of the session manager jumps, while it runs or between two of its processes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.live.bots import Bot
from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess
from tests.waiting import eventually, waiting_for
from tests.wall_clock import ShiftedWallClock

pytestmark = pytest.mark.live

HOUR = 3600
LIMITS = {"READY_TIMEOUT": "300", "USER_JOIN_TIMEOUT": "300", "SERVICE_JOIN_TIMEOUT": "200"}
"""Far from what the test takes, and far from an hour."""


@dataclass(slots=True)
class SessionInEachState:
    """One session in each state, the service of the first, and the user of the last."""

    manager: ManagerProcess
    bot: Bot
    waiting: str
    ready: str
    active: str
    user: rtc.Room

    async def states(self) -> list[str]:
        return [(await self.manager.session(one))["state"] for one in (self.waiting, self.ready, self.active)]

    async def use(self) -> None:
        """Do in each session what comes next in it."""
        assert await self.states() == ["waiting", "ready", "active"]
        assert self.user.isconnected()
        async with joined(await self.manager.session(self.ready)):
            await self.manager.until(self.ready, "active")
        await self.bot.join()
        await self.manager.until(self.waiting, "ready")
        async with joined(await opened(self.manager, "carol")) as room:
            assert room.isconnected()
        assert [invite.attempt for invite in self.bot.invites] == [1]


async def opened(manager: ManagerProcess, user: str, *services: str, prefer: str = "wait=60") -> dict[str, Any]:
    body = {"user_identity": user, "required_services": list(services)}
    status, session = await manager.ask("POST", "/sessions", body, Prefer=prefer)
    assert status in (201, 202), session
    return dict(session)


@asynccontextmanager
async def joined(session: dict[str, Any]) -> AsyncIterator[rtc.Room]:
    """The room, joined with the user's token."""
    room = rtc.Room()
    async with waiting_for("the user to join", lambda: session):
        await room.connect(session["server_url"], session["access_token"])
    try:
        yield room
    finally:
        await room.disconnect()


@asynccontextmanager
async def sessions_of(manager: ManagerProcess) -> AsyncIterator[SessionInEachState]:
    async with Bot("asr", "ASR") as bot:
        await manager.ask("POST", "/microservices/register", bot.registration())
        waiting = await opened(manager, "alice", "asr", prefer="respond-async")
        ready, active = await opened(manager, "bob"), await opened(manager, "dora")
        await bot.invited()
        async with joined(active) as user:
            await manager.until(active["session_id"], "active")
            yield SessionInEachState(
                manager, bot, waiting["session_id"], ready["session_id"], active["session_id"], user
            )


async def clock_of(manager: ManagerProcess) -> float:
    async with manager.http.get("/livez") as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()


@pytest.fixture
def wall_clock(tmp_path: Path) -> ShiftedWallClock:
    return ShiftedWallClock(tmp_path)


@pytest.fixture
async def manager(silent_site: Site, wall_clock: ShiftedWallClock, tmp_path: Path) -> AsyncIterator[ManagerProcess]:
    environment = wall_clock.environment | LIMITS
    async with ManagerProcess(silent_site, port=None, log=tmp_path / "manager.log", **environment) as manager:
        yield manager


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_jump_of_the_wall_clock_under_way_expires_nothing(
    jump: int, manager: ManagerProcess, wall_clock: ShiftedWallClock
) -> None:
    async with sessions_of(manager) as sessions:
        wall_clock.jump(jump)
        await eventually(
            "the manager's clock to jump", lambda: clock_of(manager), lambda now: abs(now - time.time()) > HOUR / 2
        )
        await sessions.use()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_jump_of_the_wall_clock_between_two_processes_expires_nothing(
    jump: int, manager: ManagerProcess, wall_clock: ShiftedWallClock
) -> None:
    async with sessions_of(manager) as sessions:
        await manager.kill()
        wall_clock.jump(jump)
        await manager.start()
        await manager.ask("POST", "/microservices/register", sessions.bot.registration())
        await sessions.use()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_wall_clock_that_is_set_right_before_a_restart_expires_nothing(
    jump: int, silent_site: Site, wall_clock: ShiftedWallClock, tmp_path: Path
) -> None:
    """The first process was started with the wrong time."""
    wall_clock.jump(jump)
    environment = wall_clock.environment | LIMITS
    async with (
        ManagerProcess(silent_site, port=None, log=tmp_path / "manager.log", **environment) as manager,
        sessions_of(manager) as sessions,
    ):
        await manager.kill()
        wall_clock.jump(0)
        await manager.start()
        await manager.ask("POST", "/microservices/register", sessions.bot.registration())
        await sessions.use()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_jump_of_the_wall_clock_between_two_processes_expires_no_record(
    jump: int, silent_site: Site, wall_clock: ShiftedWallClock, tmp_path: Path
) -> None:
    """In STATE_DIR: the answer of a repeated request, and a session that is over."""
    environment = wall_clock.environment | {"STATE_DIR": str(tmp_path / "state"), "SESSION_RETENTION": "1000"}
    async with ManagerProcess(silent_site, port=None, log=tmp_path / "manager.log", **environment) as manager:
        body, key = {"user_identity": "alice", "required_services": []}, {"Idempotency-Key": "k"}
        first = await manager.ask("POST", "/sessions", body, **key)
        ended = await manager.end_session(first[1]["session_id"])
        await manager.kill()
        wall_clock.jump(jump)
        await manager.start()
        assert await manager.ask("POST", "/sessions", body, **key) == first
        found = await manager.session(first[1]["session_id"])
    same = ("session_id", "state", "reason", "revision")
    assert {name: found[name] for name in same} == {name: ended[name] for name in same}


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_wall_clock_set_back_before_a_restart_keeps_no_process_from_writing_records(
    is_lost: bool, silent_site: Site, wall_clock: ShiftedWallClock, tmp_path: Path
) -> None:
    """The first process stops in order, or is killed while LiveKit restarts and loses which process acted."""
    wall_clock.jump(HOUR)
    environment = wall_clock.environment | {"STATE_DIR": str(tmp_path / "state")}
    async with ManagerProcess(silent_site, port=None, log=tmp_path / "manager.log", **environment) as manager:
        await opened(manager, "alice")
        if is_lost:
            await manager.kill()
            await silent_site.livekit.stop()
            await silent_site.livekit.start()
        else:
            await manager.end(signal.SIGTERM)
        wall_clock.jump(0)
        await manager.start()
        session = await opened(manager, "bob")
        assert session["access_token"]
        async with Bot("asr", "ASR") as bot:
            status, _ = await manager.ask("POST", "/microservices/register", bot.registration())
        assert status in (200, 201)
