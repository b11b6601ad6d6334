"""The native log of LiveKit's SDK, from a session manager in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import aiohttp
import pytest

from http_api.access.api_keys import digest_of, new_key
from scripts.repository import ROOT
from tests.live.conftest import KEY, SECRET, Site
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live


async def test_native_sdk_log_lines_become_json_entries(site: Site) -> None:
    """Outside dev mode every line on stderr is JSON, even the SDK's."""
    key = new_key()
    settings = {
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "LIVEKIT_SERVER_URL": site.livekit.url,
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(site.api_port),
        "API_KEYS": f"ops:{digest_of(key)}:admin",
        "RUST_LOG": "info",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http_api"), cwd=ROOT, env=os.environ | settings, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    output = asyncio.create_task(process.stderr.read())
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{site.api_port}") as http:
            await _until_it_serves(http)
            proof = {"Authorization": f"Bearer {key}"}

            async def deep_check() -> int:
                async with http.get("/health?deep=true", headers=proof) as answer:
                    return answer.status

            await eventually("a deep check", deep_check, lambda status: status == 200)  # a busy machine may need two
    finally:
        process.send_signal(signal.SIGTERM)
        async with waiting_for("the session manager to end", lambda: process):
            await process.wait()
    entries = [json.loads(line) for line in (await output).splitlines()]
    native = [entry for entry in entries if entry["logger"] == "livekit.native"]
    assert any(entry["event"].startswith("connecting to ws://") for entry in native)
    assert {entry["level"] for entry in native} >= {"info"}
    assert all(entry["target"] and entry["timestamp"] for entry in native)


async def _until_it_serves(http: aiohttp.ClientSession) -> None:
    async def status() -> int | str:
        try:
            async with http.get("/readyz") as answer:
                return answer.status
        except aiohttp.ClientConnectionError as error:  # it does not listen yet
            return str(error)

    await eventually("the server to be ready", status, lambda status: status == 200, every=0.05)
