"""What a session manager has not loaded after a session went through it, beside a real livekit-server, and that it
collects garbage, which it doesn't while it starts."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from tests.live.bots import Bot
from tests.live.conftest import Site
from tests.live.manager_process import ManagerProcess

pytestmark = pytest.mark.live

TOLD = "loaded: "
SCRIPT = f"""
import gc, sys
gc.disable()  # as `python -m http_api` does
import http_api.__main__
http_api.__main__.run(dev=True)
print("collects garbage:", gc.isenabled())
print({TOLD!r} + " ".join(sys.modules))
"""
NEVER_NEEDED = {
    "av": "codecs",
    "numpy": "sounds that are mixed",
    "openai": "language models",
    "opentelemetry.sdk": "traces are not exported",
    "requests": "traces are not exported",
    "livekit.agents.cli": "the command line of agents",
    "livekit.agents.inference": "LiveKit's models",
    "livekit.agents.llm": "language models",
    "livekit.agents.stt": "speech to text",
    "livekit.agents.tts": "text to speech",
    "livekit.agents.voice": "voice agents",
    "redis.client": "REDIS_URL is not set",
    "rich": "tables of the command line",
}
"""They would take more memory than all of http_api and manager_agent."""


class TellingProcess(ManagerProcess):
    """One that writes the modules that it has loaded as the last line of its log."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return "-c", SCRIPT

    @property
    def modules(self) -> set[str]:
        last = self.log.read_text().splitlines()[-1]
        assert last.startswith(TOLD), self.tail
        return set(last.removeprefix(TOLD).split())


async def a_whole_session(manager: TellingProcess, bot: Bot) -> None:
    """With a service that joins and says that it is ready, and a user who joins and leaves."""
    await manager.ask("POST", "/microservices/register", bot.registration())
    request: dict[str, Any] = {"user_identity": "alice", "required_services": [bot.service_id]}
    _, session = await manager.ask("POST", "/sessions", request, Prefer="respond-async")
    await bot.invited()
    await bot.join()
    await bot.say_by_rpc()
    ready = await manager.until(session["session_id"], "ready")
    user = rtc.Room()
    await user.connect(ready["server_url"], ready["access_token"])
    await manager.until(session["session_id"], "active")
    await user.disconnect()
    await manager.end_session(session["session_id"])


async def test_no_part_of_the_libraries_is_loaded_that_is_never_needed(site: Site, tmp_path: Path) -> None:
    async with TellingProcess(site, log=tmp_path / "manager.log") as manager, Bot("asr") as bot:
        await a_whole_session(manager, bot)
        assert await manager.end(signal.SIGTERM) == 0, manager.tail
    assert {"livekit.agents.worker", "livekit.rtc"} <= manager.modules, "the list is of the process that served"
    assert NEVER_NEEDED.keys() & manager.modules == set()
    assert "collects garbage: True" in manager.log.read_text()
