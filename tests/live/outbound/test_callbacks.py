"""Callbacks of sessions on a real livekit-server, also to the documented receiver in JavaScript."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE
from pathlib import Path

import aiohttp
import pytest

from http_api.settings.settings import Settings
from manager_agent.session.session import SessionState
from scripts.free_ports import free_port
from tests.callback_receiver import CallbackReceiver
from tests.documents import code_in
from tests.live.conftest import KEY, SECRET, Site, Stack, StartStack
from tests.live.humans import Human, ready_session
from tests.processes import ended
from tests.tenants import ACME, production
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live


async def test_callbacks_report_each_session_state_once_and_in_order(stack: Stack) -> None:
    async with CallbackReceiver() as receiver:
        bot = await stack.bot("asr")
        session = await ready_session(stack, bot, callback_url=receiver.url)
        session_id, human = session["session_id"], Human()
        await human.join(session)
        await stack.until(session_id, lambda s: s.state is SessionState.ACTIVE)
        await bot.leave()
        await stack.until(session_id, lambda s: s.state is SessionState.DEGRADED)
        await human.leave()
        await stack.until(session_id, lambda s: not s.user_presence.here)
        await bot.join(await bot.invited(2))
        await stack.until(session_id, lambda s: s.state is SessionState.READY)
        async with stack.http.delete(f"/api/v1/sessions/{session_id}") as answer:
            ended = await answer.json()
        await receiver.tries(5)
        async with stack.http.get("/api/v1/callbacks") as answer:
            listed = (await answer.json())["callbacks"]
    states = ["ready", "active", "degraded", "ready", "ended"]
    assert receiver.events == [f"session_{state}" for state in states]
    assert [said["session"]["state"] for said in receiver.told] == states
    assert {said["session"]["session_id"] for said in receiver.told} == {session_id}
    revisions = [said["session"]["revision"] for said in receiver.told]
    assert revisions == sorted(set(revisions))
    assert receiver.told[-1]["session"] == ended
    assert [one["id"] for one in listed] == [said["id"] for said in receiver.told][::-1]
    assert receiver.believes(KEY, SECRET)


async def test_callback_reports_the_session_end_when_the_manager_stops(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, stop_ends_sessions=True)
    async with CallbackReceiver() as receiver:
        bot = await stack.bot("asr")
        await ready_session(stack, bot, callback_url=receiver.url)
        await stack.stop()
    assert receiver.events == ["session_ready", "session_ended"]


async def test_documented_node_receiver_accepts_signed_callbacks_only(
    node_service_folder: Path, start_stack: StartStack, site: Site
) -> None:
    """docs/callbacks.md, in JavaScript: LiveKit's own SDK, and the key of an API key's owner."""
    port = free_port()
    keys = production(livekit_api_key=KEY, livekit_api_secret=SECRET)
    stack = await start_stack(site, kind=Settings, **keys)
    [code] = code_in("docs/callbacks.md", "js")
    mine = {"SESSION_MANAGER_KEY": ACME.key, "SESSION_MANAGER_KEY_NAME": ACME.name, "PORT": str(port)}
    command = ("node", "--input-type=module", "--eval", code)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=node_service_folder, env=os.environ | mine, stdout=PIPE
    )
    assert process.stdout is not None
    url = f"http://127.0.0.1:{port}/sessions"
    body = {"user_identity": "alice", "required_services": [], "callback_url": url}
    try:
        await eventually("the receiver to listen", lambda: refuses_a_forgery(stack.http, url), every=0.05)
        async with stack.http.post("/api/v1/sessions", json=body, headers=ACME.proof) as answer:
            session = await answer.json()
            assert answer.status == 201, session
        async with waiting_for("the receiver to print the event", lambda: process):
            told = (await process.stdout.readline()).decode()
        assert told.split() == ["session_ready", session["session_id"]]
    finally:
        process.kill()
        await ended(process, "the receiver")


async def refuses_a_forgery(http: aiohttp.ClientSession, url: str) -> bool:
    """False while it is not listening yet."""
    try:
        async with http.post(url, data=b"{}") as answer:
            assert answer.status == 401
            return True
    except OSError:
        return False
