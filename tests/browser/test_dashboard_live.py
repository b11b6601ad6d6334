"""The dashboard with a real livekit-server and real services: what an operator sees."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from livekit import rtc
from playwright.async_api import expect

from manager_agent.session.session import SessionState
from tests.browser.dashboard import Show
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack
from tests.live.puppets import Puppet

pytestmark = pytest.mark.browser

LOSS_TIMEOUT = 60.0
"""Seconds: LiveKit takes a while to notice that a participant's process was killed."""

ASK_FOR_THE_MICROPHONE = """() => {
  const give = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((allow) => (window.allow = allow));
  window.asked = new Promise((ask) => {
    navigator.mediaDevices.getUserMedia = async (wish) => {
      ask();
      await allowed;
      const stream = await give(wish);
      const [track] = stream.getTracks();
      const stop = track.stop.bind(track);
      window.stopped = new Promise((done) => (track.stop = () => done(stop() ?? track.readyState)));
      window.given();
      return stream;
    };
  });
  window.had = new Promise((given) => (window.given = given));
}"""
"""Like a browser that asks its user: no microphone until `allow()`."""


async def test_dashboard_shows_a_session_from_the_request_to_its_end(stack: Stack, show: Show) -> None:
    asr, llm = await stack.bot("asr-1", "ASR"), await stack.bot("llm-1", "LLM", ready_on="signal")
    dashboard = await show(stack.url)
    page = dashboard.page
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    await expect(dashboard.connection).to_have_text("Live")
    await dashboard.photograph("empty")
    await dashboard.is_accessible()

    session = await stack.request("asr-1", "llm-1", room_name="watched", ready_timeout=60)
    await expect(dashboard.row("watched")).to_contain_text("waiting")
    await dashboard.choose("watched")
    await expect(dashboard.lane("llm-1")).to_contain_text("Waiting for it to join")
    await expect(dashboard.verdict).to_contain_text("0 of 2 services ready")

    await asr.join(await asr.invited())
    await expect(dashboard.lane("asr-1")).to_contain_text("Ready by joining")
    await llm.join(await llm.invited())
    await expect(dashboard.lane("llm-1")).to_contain_text("Waiting for it to signal ready")
    await expect(dashboard.row("watched")).to_contain_text("joined")
    await dashboard.photograph("waiting")
    await dashboard.is_accessible()

    await llm.say_by_rpc()
    await expect(dashboard.verdict).to_contain_text("Ready after")
    await expect(dashboard.lane("llm-1")).to_contain_text("Ready by a message in the room")
    await expect(dashboard.row("watched")).to_contain_text("ready")
    await expect(page.get_by_role("list", name="Steps of the session")).to_contain_text("manager in the room")
    await expect(page.get_by_role("list", name="Log entries")).to_contain_text("service")

    await page.get_by_role("button", name="End the session…").click()
    await page.get_by_role("dialog").get_by_role("button", name="End the session").click()
    await expect(dashboard.verdict).to_contain_text("It was ended by request.")
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ENDED)
    await expect(page.get_by_role("button", name="Join as alice")).to_have_count(0)


async def test_dashboard_shows_a_killed_service_beside_its_replacement(
    start_stack: StartStack, site: Site, show: Show
) -> None:
    stack = await start_stack(site, replacement_timeout=LOSS_TIMEOUT)
    asr = await stack.bot("asr-1", "ASR")
    await others(stack)
    async with AsyncExitStack() as exits:
        killed = await exits.enter_async_context(Puppet(stack.url, "tts-1", type="TTS"))
        dashboard = await show(stack.url, size=(1280, 720))
        await stack.request("asr-1", {"type": "TTS"}, room_name="support-call", user_name="Alice")
        await asr.join(await asr.invited())
        await dashboard.choose("support-call")
        await expect(dashboard.verdict).to_contain_text("Ready after")
        await exits.enter_async_context(Puppet(stack.url, "tts-2", type="TTS"))

        killed.kill()
        replaced = dashboard.lane("tts-1", attempt=1)
        await expect(replaced).to_contain_text("Replaced because it left the room", timeout=LOSS_TIMEOUT * 1000)
        await expect(dashboard.lane("tts-2", attempt=2)).to_contain_text("Ready by joining")
        await expect(replaced.locator(".phase-out")).to_have_count(1)
        await expect(dashboard.verdict).to_contain_text("may join")
        await dashboard.photograph("replaced")
        await dashboard.is_accessible()


async def others(stack: Stack) -> None:
    """Other sessions in the list: one over, some ready, one waiting."""
    closed = await stack.request(room_name="onboarding-28", user_identity="bruno")
    await stack.http.delete(f"/api/v1/sessions/{closed['session_id']}")
    await stack.bot("llm-1", "LLM")
    for number, user in enumerate(("carla", "deniz"), start=1):
        await stack.request(room_name=f"kiosk-{number}", user_identity=user)
    await stack.request("llm-1", room_name="night-shift", user_identity="emre", ready_timeout=600)


async def test_dashboard_explains_a_failed_session(start_stack: StartStack, site: Site, show: Show) -> None:
    stack = await start_stack(site, ready_timeout=8)
    stays_away, says_nothing = await stack.bot("asr-1", "ASR"), await stack.bot("llm-1", "LLM", ready_on="signal")
    dashboard = await show(stack.url)
    await stack.request("asr-1", "llm-1", room_name="in-vain")
    await stays_away.invited()
    await says_nothing.join(await says_nothing.invited())
    await expect(dashboard.row("in-vain")).to_contain_text("failed")
    await expect(dashboard.row("in-vain")).to_contain_text("ready timeout")
    await dashboard.choose("in-vain")
    await expect(dashboard.verdict).to_contain_text("Not every required service was ready in time.")
    await expect(dashboard.verdict).to_contain_text("asr-1 never joined the room")
    await expect(dashboard.verdict).to_contain_text("llm-1 joined, but never signaled ready")
    await expect(dashboard.lane("llm-1")).to_contain_text("Joined, but never signaled ready")
    await dashboard.photograph("failed")
    await dashboard.is_accessible()


async def test_dashboard_starts_a_session_and_joins_its_room(stack: Stack, show: Show) -> None:
    """With the microphone, messages and sound of the services, and the room's status."""
    asr, tts = await stack.bot("asr-1", "ASR"), await stack.bot("tts-1", "TTS")
    await others(stack)
    dashboard = await show(stack.url, at="#/start", livekit=stack.site.livekit.url, size=(1280, 720))
    page = dashboard.page
    await page.get_by_label("Identity").fill("olga")
    await page.get_by_label("asr-1").check()
    await page.get_by_label("any TTS").check()
    await page.get_by_label("Metadata").fill('{"language": ')
    await page.get_by_role("button", name="Start the session").click()
    await expect(page.get_by_text("Not valid JSON")).to_be_visible()
    await expect(page.get_by_label("Metadata")).to_be_focused()
    await dashboard.is_accessible()
    await page.get_by_label("Metadata").fill('{"language": "en"}')
    await page.get_by_role("button", name="Start the session").click()

    await expect(dashboard.verdict).to_contain_text("0 of 2 services ready")
    await asr.join(await asr.invited())
    await tts.join(await tts.invited())
    people = page.get_by_role("list", name="Participants")
    await expect(people).to_contain_text("olga")
    await expect(people.get_by_text("service")).to_have_count(2)
    status = page.locator(".room-status")
    await expect(status).to_contain_text("active")
    await expect(dashboard.verdict).to_contain_text("olga is in the room.")

    voice = await hum(tts)
    await expect(people).to_contain_text("has audio")
    await expect(page.locator("#sound audio")).to_have_count(1)
    await tts.room.local_participant.publish_data("one moment", topic="captions")
    await expect(page.get_by_role("list", name="Messages")).to_contain_text("one moment")
    await page.get_by_role("button", name="Microphone").click()
    await expect(page.get_by_role("button", name="Microphone", pressed=True)).to_be_visible()
    await page.get_by_label("Write to the room").fill("good morning")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("list", name="Messages")).to_contain_text("good morning")
    await expect(page.get_by_label("Write to the room")).to_have_value("")
    await dashboard.photograph("room")
    await dashboard.is_accessible()

    await tts.room.local_participant.unpublish_track(voice)
    await tts.leave()
    await expect(status).to_contain_text("degraded")
    await page.get_by_role("link", name="Services", exact=True).click()
    await page.go_back()
    await expect(people).to_contain_text("olga")
    await page.get_by_role("button", name="Leave").click()
    await expect(page.get_by_text("You left.")).to_be_visible()
    await expect(page.get_by_role("heading", name="The room", exact=True)).to_be_focused()
    await expect(status).to_contain_text("as last seen")
    await expect(page.locator("#sound audio")).to_have_count(0)
    assert "eyJ" not in await page.content()
    assert "eyJ" not in page.url


async def test_leaving_during_the_microphone_prompt_releases_the_microphone(stack: Stack, show: Show) -> None:
    bot = await stack.bot("asr-1", "ASR")
    dashboard = await show(stack.url, livekit=stack.site.livekit.url)
    page = dashboard.page
    await page.evaluate(ASK_FOR_THE_MICROPHONE)
    await stack.request("asr-1", room_name="hasty")
    await bot.join(await bot.invited())
    await dashboard.choose("hasty")
    await page.get_by_role("button", name="Join as").click()
    await page.get_by_role("button", name="Microphone").click()
    await page.evaluate("asked")
    await page.get_by_role("button", name="Leave").click()
    await expect(page.get_by_text("You left.")).to_be_visible()
    await page.evaluate("allow()")
    await page.evaluate("had")
    assert await page.evaluate("stopped") == "ended"


async def hum(bot: Bot) -> str:
    """Publish an audio track of the bot and return its sid."""
    source = rtc.AudioSource(24_000, 1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    return (await bot.room.local_participant.publish_track(track, options)).sid


async def test_listener_joins_without_replacing_the_user(stack: Stack, show: Show) -> None:
    """The listener has its own identity, and the session still waits for its user."""
    bot = await stack.bot("asr-1", "ASR")
    dashboard = await show(stack.url, livekit=stack.site.livekit.url)
    session = await stack.request("asr-1", room_name="overheard")
    await bot.join(await bot.invited())
    await dashboard.choose("overheard")
    await dashboard.page.get_by_role("button", name="Listen in").click()
    await expect(dashboard.page.get_by_role("list", name="Participants")).to_contain_text("listener-")
    await expect(dashboard.page.get_by_role("button", name="Microphone")).to_have_count(0)
    await expect(dashboard.page.get_by_role("button", name="Send")).to_have_count(0)
    assert stack.store.get(session["session_id"]).state is SessionState.READY


async def test_dashboard_banner_shows_a_livekit_outage_until_recovery(stack: Stack, site: Site, show: Show) -> None:
    dashboard = await show(stack.url)
    await expect(dashboard.connection).to_have_text("Live")
    await expect(dashboard.banner).to_have_count(0)
    await site.livekit.stop()
    try:
        await expect(dashboard.banner).to_contain_text("LiveKit is away", timeout=60_000)
        await dashboard.photograph("livekit-away")
        await dashboard.is_accessible()
    finally:
        await site.livekit.start()
    await expect(dashboard.banner).to_have_count(0, timeout=60_000)


async def test_dashboard_reconnects_to_a_restarted_server(start_stack: StartStack, site: Site, show: Show) -> None:
    first = await start_stack(site)
    await first.request(room_name="before")
    dashboard = await show(first.url, refused=["/"])
    await dashboard.choose("before")
    await first.stop()
    await expect(dashboard.connection).to_contain_text("Reconnecting in")
    await expect(dashboard.banner).to_contain_text("This page may be out of date.")
    await expect(dashboard.row("before")).to_be_visible()
    await dashboard.photograph("feed-lost")
    await dashboard.is_accessible()
    await dashboard.page.get_by_role("button", name="Try now").click()
    await expect(dashboard.connection).to_contain_text("Reconnecting in")

    second = await start_stack(site)
    await expect(dashboard.connection).to_have_text("Live", timeout=30_000)
    await expect(dashboard.banner).to_have_count(0)
    await expect(dashboard.row("before")).to_be_visible()  # recovered from its room
    await second.request(room_name="after")
    await expect(dashboard.row("after")).to_contain_text("ready")
