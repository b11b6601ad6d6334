"""LiveKit's own client, as it is, in a real browser: a page of another origin gets its token by TokenSource, joins,
sees the services, and follows the status in the room's metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from manager_agent.session.deadlines import deadline
from manager_agent.session.session import EndReason, SessionState
from scripts.free_ports import free_port
from tests.browser.conftest import Browse
from tests.browser.token_page import TokenPage, token_page_app
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack

pytestmark = pytest.mark.browser

PROFILES = "profiles: {voice-bot: [asr-service, {type: TTS}]}"


class Front(TokenPage):
    """The page, served from another origin than the API."""

    def __init__(self, stack: Stack, page: Page) -> None:
        super().__init__(page, stack.url)
        self.stack = stack


@pytest.fixture
async def front(start_stack: StartStack, site: Site, browse: Browse, tmp_path: Path) -> Front:
    services_file, port = tmp_path / "services.yaml", free_port()
    services_file.write_text(PROFILES)
    stack = await start_stack(site, services_file=services_file, cors_origins=f"http://127.0.0.1:{port}")
    return Front(stack, await browse(token_page_app(), port))


async def hearing_and_voice(stack: Stack) -> tuple[Bot, Bot]:
    return await stack.bot("asr-service", "ASR"), await stack.bot("tts-1", "TTS")


ALICE = {"roomName": "demo", "participantIdentity": "alice", "agentName": "voice-bot"}


async def test_token_source_page_joins_and_follows_the_room_status(front: Front) -> None:
    hearing, voice = await hearing_and_voice(front.stack)
    await front.ask(**ALICE, participantName="Alice", participantMetadata="hers", agentMetadata='{"lang": "de"}')
    first, second = await hearing.invited(), await voice.invited()
    assert json.loads(second.session.metadata["agents"]["voice-bot"]) == {"lang": "de"}
    await hearing.join()
    await front.stack.until(first.session.session_id, lambda s: s.services[0].ready_by is not None)
    await front.shows("asking")

    await voice.join()
    await front.shows("alice in demo: active")
    identities = sorted(invite.identity or "" for invite in (first, second))
    assert sorted(await front.others.all_text_contents()) == [f"{identity} true" for identity in identities]
    assert await front.services.all_text_contents() == ["asr-service is ready", "tts-1 is ready"]
    [alice] = [seen for seen in await front.stack.participants("demo") if seen.identity == "alice"]
    assert (alice.name, alice.metadata) == ("Alice", "hers")

    await voice.leave()
    await front.shows("alice in demo: degraded")
    await expect(front.services).not_to_have_text(["asr-service is ready", "tts-1 is ready"])
    await voice.join(await voice.invited(2))
    await front.shows("alice in demo: active")
    await expect(front.services).to_have_text(["asr-service is ready", "tts-1 is ready"])

    async with front.stack.http.delete(f"/api/v1/sessions/{first.session.session_id}") as answer:
        assert answer.status == 200
    await front.shows("out")


async def test_reloaded_token_source_page_rejoins_its_session(front: Front) -> None:
    bots = await hearing_and_voice(front.stack)
    await front.ask(**ALICE)
    for bot in bots:
        await bot.join(await bot.invited())
    await front.shows("alice in demo: active")
    await front.page.reload()
    await front.ask(**ALICE)
    await front.shows("alice in demo: active")
    [session] = front.stack.store.list()
    await front.stack.until(session.session_id, lambda s: s.state is SessionState.ACTIVE)
    assert [len(bot.invites) for bot in bots] == [1, 1]


async def test_reloaded_token_source_page_without_identity_keeps_its_session(front: Front) -> None:
    """Each load gets another identity. The session does not end because the first one has left."""
    bots = await hearing_and_voice(front.stack)
    asked = {"roomName": "demo", "agentName": "voice-bot"}
    await front.ask(**asked)
    for bot in bots:
        await bot.join(await bot.invited())
    [session] = front.stack.store.list()
    await front.shows(f"{session.user.identity} in demo: active")
    await front.page.reload()
    await front.ask(**asked)
    latest = await front.stack.until(session.session_id, lambda s: s.user_left_at is not None and s.someone_here)
    [guest] = [guest.identity for guest in latest.guests if guest.presence.here]
    await front.shows(f"{guest} in demo: active")
    due = deadline(latest)
    assert due is not None
    assert due[1] is EndReason.EXPIRED
    assert [len(bot.invites) for bot in bots] == [1, 1]


async def test_token_source_page_learns_the_unknown_agent_name(front: Front) -> None:
    await front.ask(agentName="nobody")
    await expect(front.page.locator("#error")).to_contain_text("received 422")
    await expect(front.page.locator("#error")).to_contain_text("'nobody' is not a service, type, profile or agent")
