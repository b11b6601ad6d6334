"""Two processes of one deployment: the newer one acts, and the older one never again."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from http_api.__main__ import SUCCESSOR_STOPPED, UNUSABLE
from manager_agent.records.sqlite_file import FILE
from manager_agent.records.sqlite_opening import APPLICATION_ID, VERSION
from tests.byte_proxy import CLEAN, ByteFault, ByteProxy, Closing
from tests.live.bots import Bot
from tests.live.conftest import KEY, SECRET, Site
from tests.live.humans import Human
from tests.live.manager_process import ManagerProcess
from tests.live.room_watch import ManagersInRoom
from tests.waiting import waiting_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

FROZEN = 30.0
"""Seconds: LiveKit has closed the connections of the process then."""


@pytest.fixture
async def livekit(silent_site: Site) -> AsyncIterator[api.LiveKitAPI]:
    async with api.LiveKitAPI(silent_site.livekit.http_url, KEY, SECRET) as livekit:
        yield livekit


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with Bot("asr", "ASR") as bot:
        yield bot


@pytest.fixture
async def services_file(bot: Bot, tmp_path: Path) -> Path:
    """Both processes know the service."""
    path = tmp_path / "services.yaml"
    path.write_text(f"services:\n  - {{service_id: asr, endpoint: '{bot.endpoint}', metadata: {{type: ASR}}}}\n")
    return path


@pytest.fixture
async def proxy(silent_site: Site) -> AsyncIterator[ByteProxy]:
    async with ByteProxy(silent_site.livekit.port) as proxy:
        yield proxy


class Pair:
    """An older process with an active session, and the newer one, not started."""

    def __init__(self, older: ManagerProcess, newer: ManagerProcess, bot: Bot) -> None:
        self.older, self.newer, self.bot, self.user = older, newer, bot, Human()
        self.left: list[str] = []
        """Who left the room, as its user and service saw it."""

    async def open_session(self) -> dict[str, Any]:
        """A session in which the user and the service are."""
        body = {"user_identity": "alice", "required_services": ["asr"]}
        _, opened = await self.older.ask("POST", "/sessions", body, Prefer="respond-async")
        await self.bot.join(await self.bot.invited())
        ready = await self.older.until(opened["session_id"], "ready")
        await self.user.join(ready)
        for room in (self.user.room, self.bot.room):
            room.on("disconnected", lambda reason: self.left.append(f"disconnected: {reason}"))
            room.on("participant_disconnected", lambda participant: self.left.append(participant.identity))
        return await self.older.until(opened["session_id"], "active")

    async def goes_on(self, session: dict[str, Any], managers: ManagersInRoom) -> None:
        """The newer process has the session, with a manager of its own, and no one noticed."""
        after = await self.newer.session(session["session_id"])
        same = ("session_id", "room_name", "state", "user_identity", "created_at", "ready_at", "services")
        assert {name: after[name] for name in same} == {name: session[name] for name in same}
        async with waiting_for("one manager in the room", lambda: (managers.now, self.newer.tail)):
            while len(managers.now) != 1 or managers.now[0] == self.bot.invites[0].manager_identity:
                await asyncio.sleep(0.05)
        assert self.left == []
        assert self.bot.session_ended_messages == []
        assert len(self.bot.invites) == 1

    async def is_superseded(self, session: dict[str, Any]) -> None:
        """The older process answers what it knows and refuses what would change anything."""
        path = f"/sessions/{session['session_id']}"
        async with waiting_for("the older process to be superseded", lambda: self.older.tail):
            while "superseded" not in self.older.log.read_text():
                await asyncio.sleep(0.05)
        status, known = await self.older.ask("GET", "/sessions")
        assert (status, [one["state"] for one in known["sessions"]]) == (200, ["active"])
        await self.older.refuses("GET", path)  # the answer would have a token
        await self.older.refuses("DELETE", path)
        await self.older.refuses("POST", f"{path}/token")
        await self.older.refuses("POST", "/sessions", {"user_identity": "bob", "required_services": []})
        await self.older.refuses("POST", "/microservices/register", self.bot.registration())
        await self.older.refuses("GET", "/sessions/ses_of_the_newer_process")
        async with self.older.http.get("/readyz") as answer:
            problem = await answer.json()
            assert (answer.status, problem["detail"]) == (503, "another process of this deployment has taken over")

    async def ends(self, session: dict[str, Any]) -> None:
        """The newer process can end the session, for everyone in its room."""
        status, _ = await self.newer.ask("DELETE", f"/sessions/{session['session_id']}")
        assert status == 200
        await self.user.is_out()
        assert (await self.bot.told_goodbye()).reason == "closed"


@pytest.fixture
async def start_older(silent_site: Site, bot: Bot, services_file: Path, tmp_path: Path) -> AsyncIterator[Any]:
    """Start the older process; the newer one is stopped at the end if the test started it."""
    newer = ManagerProcess(silent_site, log=tmp_path / "newer.log", SERVICES_FILE=str(services_file))
    started: list[ManagerProcess] = []

    async def start(**more: str) -> Pair:
        older = ManagerProcess(
            silent_site, port=None, log=tmp_path / "older.log", SERVICES_FILE=str(services_file), **more
        )
        await older.start()
        started.append(older)
        return Pair(older, newer, bot)

    yield start
    for process in (*started, newer):
        await process.http.close()
        if process.is_running:
            process.send(signal.SIGCONT)
            await process.end(signal.SIGTERM)


async def test_newer_process_takes_over_unnoticed(start_older: Any, livekit: api.LiveKitAPI) -> None:
    pair = await start_older()
    session = await pair.open_session()
    async with ManagersInRoom(livekit, session["room_name"]) as managers:
        await pair.newer.start()
        await pair.is_superseded(session)
        await pair.goes_on(session, managers)
        print(f"two managers in the room for {managers.longest:.2f} s")
    assert await pair.older.end(signal.SIGTERM) == 0
    assert pair.left == []
    await pair.ends(session)


async def test_older_process_ends_to_act_again_once_the_newer_one_is_stopped(
    start_older: Any, livekit: api.LiveKitAPI
) -> None:
    """A new version is rolled back."""
    pair = await start_older()
    session = await pair.open_session()
    async with ManagersInRoom(livekit, session["room_name"]) as managers:
        await pair.newer.start()
        await pair.is_superseded(session)
        assert await pair.newer.end(signal.SIGTERM) == 0
        assert await pair.older.ended() == SUCCESSOR_STOPPED
        pair.older, pair.newer = pair.newer, pair.older
        await pair.newer.start()
        await pair.goes_on(session, managers)
    await pair.ends(session)


async def test_process_that_was_frozen_undoes_nothing_of_a_newer_one_that_has_stopped(
    start_older: Any, livekit: api.LiveKitAPI
) -> None:
    pair = await start_older()
    session = await pair.open_session()
    pair.older.send(signal.SIGSTOP)
    await pair.newer.start()
    await pair.ends(session)
    assert await pair.newer.end(signal.SIGTERM) == 0
    pair.older.send(signal.SIGCONT)
    assert await pair.older.ended() == SUCCESSOR_STOPPED
    listed = await livekit.room.list_rooms(api.ListRoomsRequest(names=[session["room_name"]]))
    assert not listed.rooms


async def test_process_that_can_not_start_takes_nothing_over(
    start_older: Any, silent_site: Site, tmp_path: Path
) -> None:
    """Its STATE_DIR is of a newer version, as after a roll-back."""
    pair = await start_older()
    session = await pair.open_session()
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        file.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer = ManagerProcess(silent_site, log=tmp_path / "unusable.log", STATE_DIR=str(tmp_path))
    await newer.spawn()
    assert await newer.ended() == UNUSABLE
    await newer.http.close()
    status, _ = await pair.older.ask("DELETE", f"/sessions/{session['session_id']}")
    assert status == 200
    assert "superseded" not in pair.older.log.read_text()
    await pair.user.is_out()


async def test_process_that_was_frozen_is_refused_once_it_thaws(start_older: Any, livekit: api.LiveKitAPI) -> None:
    pair = await start_older()
    session = await pair.open_session()
    async with ManagersInRoom(livekit, session["room_name"]) as managers:
        pair.older.send(signal.SIGSTOP)
        asked = asyncio.create_task(pair.older.refuses("DELETE", f"/sessions/{session['session_id']}"))
        await pair.newer.start()
        await pair.goes_on(session, managers)
        await asyncio.sleep(FROZEN)
        pair.older.send(signal.SIGCONT)
        await asked
        await pair.is_superseded(session)
        await pair.goes_on(session, managers)
        print(f"two managers in the room for {managers.longest:.2f} s")
    await pair.ends(session)


@pytest.mark.parametrize("closing", [Closing.REFUSE, Closing.BLACK_HOLE])
async def test_process_that_was_cut_off_is_refused_when_it_comes_back(
    closing: Closing, start_older: Any, silent_site: Site, livekit: api.LiveKitAPI, proxy: ByteProxy
) -> None:
    pair = await start_older(
        LIVEKIT_SERVER_URL=f"ws://127.0.0.1:{proxy.port}", LIVEKIT_PUBLIC_URL=silent_site.livekit.url
    )
    session = await pair.open_session()
    async with ManagersInRoom(livekit, session["room_name"]) as managers:
        proxy.set(ByteFault(closing=closing))
        if closing is Closing.REFUSE:
            proxy.reset_all()
        await pair.newer.start()
        await pair.older.refuses("DELETE", f"/sessions/{session['session_id']}")
        await pair.goes_on(session, managers)
        proxy.set(CLEAN)
        await pair.is_superseded(session)
        await pair.goes_on(session, managers)
        print(f"two managers in the room for {managers.longest:.2f} s")
    await pair.ends(session)
