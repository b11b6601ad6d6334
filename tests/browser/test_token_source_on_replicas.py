"""A page that got its token through one replica follows the room while that replica is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from scripts.free_ports import free_port
from tests.browser.conftest import Browse
from tests.browser.token_page import TokenPage, token_page_app
from tests.live.replicas.replica_site import ReplicaSite
from tests.redis_server import require_redis

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PROFILES = "profiles: {voice-bot: [asr-service, {type: TTS}]}"
ASKED = {"roomName": "demo", "participantIdentity": "alice", "agentName": "voice-bot"}


@pytest.fixture
def page_port() -> int:
    return free_port()


@pytest.fixture
async def replicas(livekit_binary: Path, tmp_path: Path, page_port: int) -> AsyncIterator[ReplicaSite]:
    require_redis()
    services_file = tmp_path / "services.yaml"
    services_file.write_text(PROFILES)
    environment = {"SERVICES_FILE": str(services_file), "CORS_ORIGINS": f"http://127.0.0.1:{page_port}"}
    async with ReplicaSite(tmp_path, replicas=2, environment=environment) as site:
        yield site


async def test_page_follows_its_room_while_its_replica_is_killed(
    replicas: ReplicaSite, browse: Browse, page_port: int
) -> None:
    hearing, voice = await replicas.bot("asr-service", "ASR"), await replicas.bot("tts-1", "TTS")
    asked = replicas.replicas[0]
    page = TokenPage(await browse(token_page_app(), page_port), asked.url)
    await page.ask(**ASKED)
    for bot in (hearing, voice):
        await bot.join(await bot.invited())
    await page.shows("alice in demo: active")
    assert await page.services.all_text_contents() == ["asr-service is ready", "tts-1 is ready"]
    assert await replicas.owner("demo") is asked

    await asked.kill()
    replicas.replicas.remove(asked)
    await voice.leave()
    await page.shows("alice in demo: degraded")
    await voice.join(await voice.invited(2))
    await page.shows("alice in demo: active")
    await expect(page.services).to_have_text(["asr-service is ready", "tts-1 is ready"])
    [other] = replicas.replicas
    assert await replicas.owner("demo") is other
    assert len(hearing.invites) == 1

    await other.end_session(hearing.invites[0].session.session_id)
    await page.shows("out")
