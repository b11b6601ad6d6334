"""A session manager that is killed between a change and its callback: the next one delivers it, under the same id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.callback_receiver import CallbackReceiver
from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess
from tests.waiting import waiting_for

pytestmark = pytest.mark.live

SESSIONS = 20

StartManager = Callable[..., AbstractAsyncContextManager[ManagerProcess]]


@pytest.fixture
def manager_with(silent_site: Site, tmp_path: Path) -> StartManager:
    return lambda **environment: ManagerProcess(silent_site, log=tmp_path / "manager.log", **environment)


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    async with CallbackReceiver() as receiver:
        yield receiver


@pytest.fixture(params=["with STATE_DIR", "without"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    return {"STATE_DIR": str(tmp_path / "state")} if request.param == "with STATE_DIR" else {}


async def opened(manager: ManagerProcess, receiver: CallbackReceiver) -> dict[str, Any]:
    body = {"user_identity": "alice", "required_services": [], "callback_url": receiver.url}
    status, session = await manager.ask("POST", "/sessions", body)
    assert status == 201, session
    return dict(session)


def ids_of(receiver: CallbackReceiver, event: str) -> dict[str, set[str]]:
    """The ids under which each session's event of this name came."""
    found: dict[str, set[str]] = {}
    for said in receiver.told:
        if said["event"] == event:
            found.setdefault(said["session"]["session_id"], set()).add(said["id"])
    return found


async def until_told(receiver: CallbackReceiver, event: str, sessions: set[str]) -> dict[str, set[str]]:
    async with waiting_for(f"{event} of {len(sessions)} sessions", lambda: ids_of(receiver, event)):
        while not sessions <= ids_of(receiver, event).keys():
            await asyncio.sleep(0.02)
    return ids_of(receiver, event)


async def test_callback_of_every_acknowledged_session_comes_though_the_process_is_killed(
    manager_with: StartManager, receiver: CallbackReceiver, state: dict[str, str]
) -> None:
    """As soon as the last of concurrent requests is answered."""
    async with manager_with(**state) as manager:
        sessions = await asyncio.gather(*(opened(manager, receiver) for _ in range(SESSIONS)))
        await manager.kill()
        await manager.start()
        ids = await until_told(receiver, "session_ready", {session["session_id"] for session in sessions})
    assert [len(each) for each in ids.values()] == [1] * SESSIONS


async def test_callback_of_every_acknowledged_end_comes_though_the_process_is_killed(
    manager_with: StartManager, receiver: CallbackReceiver, tmp_path: Path
) -> None:
    async with manager_with(STATE_DIR=str(tmp_path / "state")) as manager:
        sessions = await asyncio.gather(*(opened(manager, receiver) for _ in range(SESSIONS)))
        await asyncio.gather(*(manager.end_session(each["session_id"]) for each in sessions))
        await manager.kill()
        await manager.start()
        ids = await until_told(receiver, "session_ended", {session["session_id"] for session in sessions})
    assert [len(each) for each in ids.values()] == [1] * SESSIONS


async def test_callbacks_that_a_receiver_did_not_take_come_in_order_from_the_next_process(
    manager_with: StartManager, tmp_path: Path
) -> None:
    """With what happened while no process ran. What was delivered is not sent again by a third process."""
    takes = asyncio.Event()

    async def answer(_: dict[str, Any]) -> int:
        await takes.wait()
        return 200

    environment = {"STATE_DIR": str(tmp_path / "state"), "USER_REJOIN_TIMEOUT": "300"}
    async with CallbackReceiver(answer=answer) as receiver, manager_with(**environment) as manager:
        session = await opened(manager, receiver)
        user = rtc.Room()
        await user.connect(session["server_url"], session["access_token"])
        await manager.until(session["session_id"], "active")
        await receiver.tries(1)
        await manager.kill()
        await user.disconnect()
        takes.set()
        await manager.start()
        await manager.until(session["session_id"], "ready")
        await until_delivered(manager, 3)
        assert told_once(receiver) == ["session_ready", "session_active", "session_ready"]
        first, again, *_ = receiver.told
        assert again == first
        await manager.session(session["session_id"])  # its answer waits for the records
        before = len(receiver.told)
        await manager.kill()
        await manager.start()
        await manager.end_session(session["session_id"])
        await receiver.tries(before + 1)
        assert receiver.events[before:] == ["session_ended"]


def told_once(receiver: CallbackReceiver) -> list[str]:
    """The events in order, each once however often it was sent: on a busy machine the first process tries again."""
    return list({told["id"]: told["event"] for told in receiver.told}.values())


async def until_delivered(manager: ManagerProcess, number: int) -> None:
    async with waiting_for(f"{number} callbacks to be delivered", lambda: manager.tail):
        while manager.log.read_text().count("callback_delivered") < number:
            await asyncio.sleep(0.02)
