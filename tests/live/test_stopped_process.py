"""A session manager that is asked to stop: its sessions and their users go on, and the next process continues them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit import api, rtc

from tests.byte_proxy import CLEAN, ByteFault, ByteProxy, Closing
from tests.live.bots import Bot
from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess
from tests.waiting import eventually, waiting_for
from tests.wall_clock import MachineClock

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

LIMITS = {"READY_TIMEOUT": "600", "USER_JOIN_TIMEOUT": "600", "SERVICE_JOIN_TIMEOUT": "500"}
"""Far from what a test takes."""
KEPT = ("session_id", "room_name", "state", "user_identity", "created_at", "ready_deadline", "services")

MakeBot = Callable[[str], Awaitable[Bot]]


@pytest.fixture
async def bots() -> AsyncIterator[MakeBot]:
    """Makes services that are not registered yet."""
    async with AsyncExitStack() as running:

        async def bot(service_id: str) -> Bot:
            return await running.enter_async_context(Bot(service_id))

        yield bot


def process(site: Site, folder: Path, **environment: str) -> ManagerProcess:
    return ManagerProcess(
        site, port=None, log=folder / "manager.log", STATE_DIR=str(folder / "state"), **LIMITS | environment
    )


def request_for(user: str, *bots: Bot) -> dict[str, Any]:
    return {"user_identity": user, "required_services": [bot.service_id for bot in bots]}


async def opened(manager: ManagerProcess, user: str, *bots: Bot, joined: bool = False) -> dict[str, Any]:
    """A session of these services, which are registered and invited, and with `joined` in the room."""
    for bot in bots:
        await manager.ask("POST", "/microservices/register", bot.registration())
    status, session = await manager.ask("POST", "/sessions", request_for(user, *bots), Prefer="respond-async")
    assert status in (201, 202), session
    for bot in bots:
        await bot.invited()
        if joined:
            await bot.join()
    return await manager.until(session["session_id"], "ready" if joined or not bots else "waiting")


async def joined_by_its_user(manager: ManagerProcess, session: dict[str, Any], seen: list[str]) -> rtc.Room:
    """The user in the room of a session that is active. `seen`: gets all that the user notices from then on."""
    user = rtc.Room()
    await user.connect(session["server_url"], session["access_token"])
    await manager.until(session["session_id"], "active")
    user.on("disconnected", lambda reason: seen.append(f"disconnected {reason}"))
    user.on("participant_disconnected", lambda participant: seen.append(f"{participant.identity} left"))
    return user


async def asking(manager: ManagerProcess, user: str, bot: Bot, **headers: str) -> asyncio.Task[tuple[int, Any]]:
    """A request that waits for a session whose service was invited and does not join."""
    await manager.ask("POST", "/microservices/register", bot.registration())
    task = asyncio.create_task(manager.ask("POST", "/sessions", request_for(user, bot), **headers))
    await bot.invited()
    return task


async def managed(livekit: api.LiveKitAPI, session: dict[str, Any]) -> None:
    """Return once the session's manager is in the room: one that joins for long makes a deleted room again."""

    async def managers() -> list[str]:
        request = api.ListParticipantsRequest(room=session["room_name"])
        listed = (await livekit.room.list_participants(request)).participants
        return [one.identity for one in listed if one.permission.hidden and one.state == api.ParticipantInfo.ACTIVE]

    await eventually(f"a manager in {session['room_name']}", managers)


async def is_stopping(manager: ManagerProcess) -> None:
    """Return once the process says that it is stopping. It still answers then."""
    async with waiting_for("/readyz to be 503", lambda: manager.tail):
        while True:
            async with manager.http.get("/readyz") as answer:
                if answer.status == 503:
                    assert (await answer.json())["detail"] == "the session manager is stopping"
                    assert answer.headers["Retry-After"] == "2"
                    return


async def test_sessions_in_every_state_outlive_a_stop_and_their_services_are_told_nothing(
    silent_site: Site, tmp_path: Path, bots: MakeBot, livekit: api.LiveKitAPI
) -> None:
    in_call, waiting_bot, keyed_bot, lone_bot = [await bots(f"bot-{name}") for name in ("call", "late", "key", "lone")]
    noticed: list[str] = []
    clock = MachineClock()
    async with process(silent_site, tmp_path) as manager:
        active = await opened(manager, "anna", in_call, joined=True)
        user = await joined_by_its_user(manager, active, noticed)
        ready, waiting = await opened(manager, "rita"), await opened(manager, "wanda", waiting_bot)
        ended = await opened(manager, "eve")
        await managed(livekit, ended)
        await manager.end_session(ended["session_id"])
        key = {"Idempotency-Key": "k1"}
        keyed, lone = await asking(manager, "kim", keyed_bot, **key), await asking(manager, "leo", lone_bot)
        of_keyed, of_lone = keyed_bot.invites[0].session, lone_bot.invites[0].session
        before = [await manager.session(one["session_id"]) for one in (active, ready, waiting)]

        ending = asyncio.create_task(manager.end(signal.SIGTERM))
        await is_stopping(manager)
        status, _ = await manager.ask("POST", "/sessions", request_for("late"))
        assert status == 503
        assert (await manager.session(active["session_id"]))["state"] == "active"
        assert [(await keyed)[0], (await lone)[0]] == [503, 503]
        assert await ending == 0

        rooms = {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}
        assert {one["room_name"] for one in before} | {of_keyed.room_name} <= rooms
        assert {of_lone.room_name, ended["room_name"]} & rooms == set()
        manager_identity = in_call.invites[0].manager_identity

        async def present() -> set[str | None]:
            request = api.ListParticipantsRequest(room=active["room_name"])
            return {one.identity for one in (await livekit.room.list_participants(request)).participants}

        await eventually("the manager to have left", present, lambda here: manager_identity not in here)
        assert await present() == {"anna", in_call.invites[0].identity}
        assert (await lone_bot.told_goodbye()).reason == "closed"
        assert [bot.session_ended_messages for bot in (in_call, waiting_bot, keyed_bot)] == [[], [], []]

        await manager.start()
        for was in before:
            now = await manager.session(was["session_id"])
            kept, had = ({name: view[name] for name in KEPT} for view in (now, was))
            assert clock.comparable(kept) == clock.comparable(had)
        repeated = asyncio.create_task(manager.ask("POST", "/sessions", request_for("kim", keyed_bot), **key))
        await asyncio.gather(keyed_bot.join(), waiting_bot.join())
        status, found = await repeated
        assert (status, found["session_id"], found["state"]) == (201, of_keyed.session_id, "ready")
        await manager.until(waiting["session_id"], "ready")
        for one in (of_lone.session_id, ended["session_id"]):
            assert (await manager.session(one))["reason"] == "closed"
        assert [len(bot.invites) for bot in (in_call, waiting_bot, keyed_bot)] == [1, 1, 1]
        assert (noticed, user.isconnected()) == ([], True)
        await user.disconnect()


@pytest.mark.parametrize("ends_sessions", ["false", "true"])
async def test_a_process_ends_in_order_while_livekit_hangs(
    silent_site: Site, tmp_path: Path, bots: MakeBot, ends_sessions: str
) -> None:
    """Within its 20 seconds: it would end itself then, with another exit code."""
    in_call, lone_bot = await bots("bot-call"), await bots("bot-lone")
    noticed: list[str] = []
    async with (
        ByteProxy(silent_site.livekit.port) as proxy,
        process(
            silent_site,
            tmp_path,
            LIVEKIT_SERVER_URL=f"ws://127.0.0.1:{proxy.port}",
            LIVEKIT_PUBLIC_URL=silent_site.livekit.url,
            STOP_ENDS_SESSIONS=ends_sessions,
        ) as manager,
    ):
        active = await opened(manager, "anna", in_call, joined=True)
        user = await joined_by_its_user(manager, active, noticed)
        lone = await asking(manager, "leo", lone_bot)
        proxy.set(ByteFault(closing=Closing.BLACK_HOLE))
        ending = asyncio.create_task(manager.end(signal.SIGTERM))
        assert (await lone)[0] == 503
        assert await ending == 0, manager.tail
        assert "stop_timed_out" not in manager.log.read_text()
        proxy.set(CLEAN)
        await manager.start()
        if ends_sessions == "false":
            assert (await manager.session(active["session_id"]))["state"] == "active"
            assert (noticed, user.isconnected()) == ([], True)
        await user.disconnect()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_process_at_once_and_no_session(
    silent_site: Site, tmp_path: Path, bots: MakeBot, second: signal.Signals
) -> None:
    waiting_bot, lone_bot = await bots("bot-late"), await bots("bot-lone")
    async with process(silent_site, tmp_path) as manager:
        waiting = await opened(manager, "wanda", waiting_bot)
        lone = await asking(manager, "leo", lone_bot)
        ending = asyncio.create_task(manager.end(signal.SIGTERM))
        await is_stopping(manager)
        assert await manager.end(second) == await ending == 128 + second
        with pytest.raises(aiohttp.ClientConnectionError):
            await lone
        await manager.start()
        await asyncio.gather(waiting_bot.join(), lone_bot.join())
        for session_id in (waiting["session_id"], lone_bot.invites[0].session.session_id):
            await manager.until(session_id, "ready")


async def test_a_stop_ends_all_sessions_if_that_is_set(
    silent_site: Site, tmp_path: Path, bots: MakeBot, livekit: api.LiveKitAPI
) -> None:
    in_call, waiting_bot = await bots("bot-call"), await bots("bot-late")
    noticed: list[str] = []
    async with process(silent_site, tmp_path, STOP_ENDS_SESSIONS="true") as manager:
        active = await opened(manager, "anna", in_call, joined=True)
        user = await joined_by_its_user(manager, active, noticed)
        waiting, ready = await opened(manager, "wanda", waiting_bot), await opened(manager, "rita")
        for session in (active, waiting, ready):
            await managed(livekit, session)
        assert await manager.end(signal.SIGINT) == 0
        rooms = {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}
        sessions = [active, waiting, ready]
        assert {one["room_name"] for one in sessions} & rooms == set()
        assert {(await bot.told_goodbye()).reason for bot in (in_call, waiting_bot)} == {"closed"}
        async with waiting_for("the user to be disconnected", lambda: noticed):
            while user.isconnected():
                await asyncio.sleep(0.02)
        await manager.start()
        ends = [await manager.session(one["session_id"]) for one in sessions]
        assert [(one["state"], one["reason"]) for one in ends] == [("ended", "closed")] * 3
