"""`session-manager watch` on a terminal, against the real API: what is drawn and cleared."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from http_api.cli.one_session import OneSession
from manager_agent.session import events as ev
from manager_agent.session.events import Refusal
from scripts.repository import ROOT
from tests.api.cli.test_commands import COMMAND, INTERRUPTED, NO
from tests.api.session_manager_client.test_client import client_of
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import still_session
from tests.waiting import waiting_for

pytestmark = pytest.mark.api


@dataclass(slots=True)
class Terminal:
    """A pseudo-terminal that runs the command, and everything it has shown."""

    process: asyncio.subprocess.Process
    screen: int
    shown: bytearray = field(default_factory=bytearray)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> None:
        try:
            self.shown.extend(os.read(self.screen, 65_536))
        except OSError:  # what Linux says when the other side is closed
            asyncio.get_running_loop().remove_reader(self.screen)
        self.news.set()

    async def shows(self, words: str) -> None:
        """Return once the terminal has shown these words, after those that were awaited before."""
        async with waiting_for(f"{words!r} on the terminal", lambda: bytes(self.shown[-2_000:])):
            while (at := self.shown.find(words.encode())) < 0:
                self.news.clear()
                await self.news.wait()
        del self.shown[: at + len(words)]


@asynccontextmanager
async def on_a_terminal(api: Api, *arguments: str) -> AsyncIterator[Terminal]:
    """Run the command on a terminal. The cursor must be hidden at the beginning and shown again at the end."""
    ours, theirs = os.openpty()
    env = os.environ | {"SESSION_MANAGER_URL": f"http://127.0.0.1:{api.port}", "TERM": "xterm", "COLUMNS": "150"}
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments), cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    asyncio.get_running_loop().add_reader(ours, terminal.read)
    try:
        await terminal.shows("\x1b[?25l")
        yield terminal
        await terminal.shows("\x1b[?25h")
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"Traceback" not in terminal.shown


async def test_terminal_shows_a_live_table_and_clears_it_on_exit(api: Api) -> None:
    """The table has services, sessions and outages; Ctrl-C restores the cursor."""
    await api.register("asr-service")
    session_id = (await api.open())[2]["session_id"]
    async with on_a_terminal(api, "watch") as terminal:
        await terminal.shows("asr-service")
        await terminal.shows(session_id)
        api.agent.is_registered = False
        await terminal.shows("livekit has been unavailable since")
        await api.register("llm-service", type="LLM")
        await terminal.shows("llm-service")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.process.wait() == INTERRUPTED


async def test_terminal_shows_a_bar_for_each_attempt_of_a_session(start_api: StartApi) -> None:
    """And the service that is missing, until the session is over."""
    api = await start_api(ready_timeout=60)
    await api.register("asr-service")
    session_id = (await api.open("asr-service"))[2]["session_id"]
    async with on_a_terminal(api, "watch", session_id) as terminal:
        await terminal.shows("is waiting")
        await terminal.shows("▒")
        await terminal.shows("expected to join within")
        await api.parts.store.update(session_id, ev.DeadlinePassed(api.parts.clock() + 60))
        await terminal.shows("is failed: ")  # on a slow machine because no manager came
        await terminal.shows("never_joined")
        assert await terminal.process.wait() == NO


async def test_terminal_shows_a_repeated_invite_without_a_new_revision(api: Api) -> None:
    """An unreachable service is invited again, which changes no revision."""

    def drawn() -> str:
        out = io.StringIO()
        Console(file=out, width=150).print(one.picture())
        return out.getvalue()

    async with still_session(api) as still, client_of(api) as client:
        one = OneSession(client)
        await still.happens(ev.InviteRefused(api.parts.clock(), 0, 1, 1, Refusal.UNREACHABLE))
        await one.take(await client.get(still.session_id))
        assert "invited again in" in drawn()
        known = still.now.revision
        await still.happens(ev.InviteStarted(api.parts.clock(), 0, 1, 2, "sm-asr-1", "inv_0"))
        assert still.now.revision == known
        async with one.refreshing(), waiting_for("the session drawn without 'invited again'", drawn):
            while "invited again" in drawn():
                await asyncio.sleep(0.01)
        assert "expected to accept" in drawn()
