"""A worker of livekit-agents in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scripts.repository import ROOT
from tests.live.conftest import Site
from tests.processes import ended
from tests.waiting import waiting_for


@asynccontextmanager
async def agent_worker(site: Site, log: Path, module: str = "examples.agent_service") -> AsyncIterator[None]:
    """The agent of this module, registered with LiveKit."""
    keys = {"LIVEKIT_URL": site.livekit.url, "LIVEKIT_API_KEY": "devkey", "LIVEKIT_API_SECRET": "secret"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "dev", "--no-reload"),
            cwd=ROOT,
            env=os.environ | keys,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        async with waiting_for("the agent to register", log.read_text):
            while "registered worker" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            await ended(process, module, log.read_text)
