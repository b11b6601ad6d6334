"""A session manager that is killed leaves its sessions in LiveKit's rooms, and the next one continues them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import api, rtc

from manager_agent.messages import RoomStatus
from tests.live.bots import Bot
from tests.live.conftest import Site, room_names
from tests.live.manager_process import ManagerProcess
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

METADATA = {"topic": "天气"}


@pytest.fixture
async def manager(silent_site: Site, tmp_path: Path) -> AsyncIterator[ManagerProcess]:
    async with ManagerProcess(silent_site, log=tmp_path / "manager.log") as manager:
        yield manager


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with Bot("asr", "ASR") as bot:
        yield bot


async def open_session(manager: ManagerProcess, bot: Bot, prefer: str, **registration: Any) -> dict[str, Any]:
    await manager.ask("POST", "/microservices/register", bot.registration(**registration))
    body = {"user_identity": "alice", "required_services": ["asr"], "metadata": METADATA}
    status, session = await manager.ask("POST", "/sessions", body, Prefer=prefer)
    assert status in (201, 202), session
    return dict(session)


async def join_as_user(session: dict[str, Any]) -> rtc.Room:
    room = rtc.Room()
    await room.connect(session["server_url"], session["access_token"])
    return room


async def test_users_and_services_of_an_active_session_do_not_notice(manager: ManagerProcess, bot: Bot) -> None:
    joining = asyncio.create_task(bot_joins(bot))
    session = await open_session(manager, bot, "wait=20")
    await joining
    user = await join_as_user(session)
    left: list[str] = []
    for room in (user, bot.room):
        room.on("disconnected", lambda reason: left.append(str(reason)))
        room.on("participant_disconnected", lambda participant: left.append(participant.identity))
    before = await manager.until(session["session_id"], "active")
    await manager.kill()
    await manager.start()
    after = await manager.session(session["session_id"])
    same = ("session_id", "room_name", "state", "user_identity", "metadata", "created_at", "ready_at", "services")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    await another_manager(user, bot)
    answer = await bot.say_by_rpc('{"type": "progress"}', to=lambda: manager_in(user))
    assert answer["ok"]
    assert len(bot.invites) == 1
    assert left == []
    await user.disconnect()
    await manager.end_session(session["session_id"])
    assert (await bot.told_goodbye()).reason == "closed"


async def bot_joins(bot: Bot) -> None:
    await bot.invited()
    await bot.join()


def manager_in(user: rtc.Room) -> str | None:
    """The identity of the manager, according to the room's metadata. On a slow machine a dispatch may be repeated."""
    status = RoomStatus.read(user.metadata)
    return status.manager_identity if status else None


async def another_manager(user: rtc.Room, bot: Bot) -> None:
    """Return once another manager than that of the invite is in the room's metadata."""
    async with waiting_for("another manager in the room's metadata", lambda: manager_in(user)):
        while manager_in(user) in (None, bot.invites[0].manager_identity):
            await asyncio.sleep(0.02)


async def test_a_waiting_session_becomes_ready_under_the_next_process(manager: ManagerProcess, bot: Bot) -> None:
    session = await open_session(manager, bot, "respond-async", ready_on="signal")
    invite = await bot.invited()
    await manager.kill()
    await bot.join()
    await manager.start()
    await manager.ask("POST", "/microservices/register", bot.registration(ready_on="signal"))
    status, _ = await manager.ask(
        "POST",
        f"/sessions/{session['session_id']}/ready",
        {"service_id": "asr"},
        Authorization=f"Bearer {invite.token}",
    )
    assert status == 200
    ready = await manager.until(session["session_id"], "ready")
    assert ready["access_token"]
    assert ready["services"][0]["attempt"] == 1
    assert {invite.id for invite in bot.invites} == {invite.id}


async def test_a_token_request_that_a_crash_cut_off_finds_its_session_again(
    silent_site: Site, tmp_path: Path, bot: Bot
) -> None:
    patient = {"READY_TIMEOUT": "150", "SERVICE_JOIN_TIMEOUT": "100"}
    body = {"participant_identity": "alice", "room_config": {"agents": [{"agent_name": "asr"}]}}
    async with ManagerProcess(silent_site, port=None, log=tmp_path / "manager.log", **patient) as manager:
        await manager.ask("POST", "/microservices/register", bot.registration(ready_on="signal"))
        asking = asyncio.create_task(manager.ask("POST", "/token", body))
        invite = await bot.invited()
        await manager.kill()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asking
        await bot.join()
        await manager.start()
        await manager.session(invite.session.session_id)
        asking = asyncio.create_task(manager.ask("POST", "/token", body))
        await bot.say_by_http(manager.http)
        status, answer = await asking
        assert status == 201, answer
        user = await join_as_user({"server_url": answer["server_url"], "access_token": answer["participant_token"]})
        await manager.until(invite.session.session_id, "active")
        assert len(bot.invites) == 1
        await user.disconnect()


async def test_a_waiting_session_fails_at_its_own_deadline_after_a_crash(manager: ManagerProcess, bot: Bot) -> None:
    await manager.ask("POST", "/microservices/register", bot.registration())
    body = {"user_identity": "alice", "required_services": ["asr"], "ready_timeout": 6}
    _, session = await manager.ask("POST", "/sessions", body, Prefer="respond-async")
    await bot.invited()
    await manager.kill()
    await manager.start()
    failed = await manager.until(session["session_id"], "failed")
    assert (failed["reason"], failed["ready_deadline"]) == ("ready_timeout", session["ready_deadline"])
    assert failed["services"][0]["reason"] == "never_joined"


async def test_a_room_with_a_damaged_record_is_left_alone(manager: ManagerProcess, livekit: api.LiveKitAPI) -> None:
    _, session = await manager.ask("POST", "/sessions", {"user_identity": "alice", "required_services": []})
    room_name = session["room_name"]
    user = await join_as_user(session)
    await manager.until(session["session_id"], "active")
    await manager.kill()
    for dispatch in await livekit.agent_dispatch.list_dispatch(room_name):
        await livekit.agent_dispatch.delete_dispatch(dispatch.id, room_name)
    await manager.start()
    async with waiting_for("the room to be found unreadable", lambda: manager.tail):
        while "room_unreadable" not in manager.log.read_text():
            await asyncio.sleep(0.05)
    status, _ = await manager.ask("GET", f"/sessions/{session['session_id']}")
    assert status == 404
    assert user.isconnected()
    assert await room_names(livekit) == [room_name]
    await user.disconnect()
