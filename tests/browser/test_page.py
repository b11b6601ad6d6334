"""The pages of examples/web in a real browser: what the user is shown, from the first click to the end. The one without
a framework and the one in React do the same."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from livekit import api, rtc
from playwright.async_api import Locator, Page, Route, expect

from examples.web.server import FILES, HERE, create_app
from manager_agent.messages import RoomStatus
from manager_agent.session.session import EndReason, SessionState
from scripts.free_ports import free_port
from tests.browser.conftest import Browse
from tests.browser.dashboard import SCREENSHOTS
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack
from tests.waiting import eventually

pytestmark = pytest.mark.browser

PAGES = {"telephone": "/", "react": "/react"}
PREPARING = "Getting everything ready…"
ALL_HERE = "You are connected"
NO_VOICE = "Connecting the voice…"
OVER = "The call is over"
NO_MICROPHONE = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"));
"""

OpenPage = Callable[[Stack], Awaitable[Page]]


@pytest.fixture(scope="module")
def react_bundle(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of the React page, built as documented, but elsewhere."""
    folder = tmp_path_factory.mktemp("react")
    command = ("npm", "run", "--silent", "build", "--", f"--outdir={folder}", "--log-level=warning")
    subprocess.run(command, cwd=HERE, check=True)
    return folder / "react.js"


@pytest.fixture(params=PAGES)
def open_page(
    request: pytest.FixtureRequest, browse: Browse, react_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> OpenPage:
    """Open the example page for sessions with a service that hears and one that speaks."""
    monkeypatch.setitem(FILES, "/react.js", react_bundle)

    async def open_page(served: Stack) -> Page:
        app = create_app(served.url, ("asr-service", "tts-service"))
        return await browse(app, free_port(), PAGES[request.param])

    return open_page


def shown(page: Page) -> Locator:
    return page.get_by_role("status")


def service(page: Page, service_id: str) -> Locator:
    return page.get_by_role("list", name="Services").get_by_role("listitem").filter(has_text=service_id)


async def photograph(page: Page, name: str) -> None:
    kind = "react" if "/react" in page.url else "telephone"
    for scheme in ("dark", "light"):
        await page.emulate_media(color_scheme=scheme)
        await page.screenshot(path=SCREENSHOTS / f"{kind}-{name}-{scheme}.png")


async def hearing_and_voice(stack: Stack) -> tuple[Bot, Bot]:
    """The two services that the page asks for, registered."""
    hearing = await stack.bot("asr-service", metadata={"type": "ASR"})
    voice = await stack.bot("tts-service", metadata={"type": "TTS"})
    return hearing, voice


async def start(page: Page, *services: Bot) -> str:
    """Start a session that all these services join, and return its id."""
    await page.get_by_role("button", name="Call").click()
    session_id = ""
    for bot in services:
        session_id = (await bot.invited()).session.session_id
        await bot.join()
    return session_id


async def told_in_the_room(stack: Stack, session_id: str, state: SessionState) -> None:
    """Return once the metadata of the session's room shows this state."""
    room_name = stack.store.get(session_id).room_name

    async def statuses() -> list[RoomStatus | None]:
        rooms = (await stack.livekit.room.list_rooms(api.ListRoomsRequest(names=[room_name]))).rooms
        return [RoomStatus.read(room.metadata) for room in rooms]

    await eventually(
        f"the state {state} in the metadata of {room_name}",
        statuses,
        lambda found: any(status and status.state is state for status in found),
    )


async def test_example_page_shows_services_join_leave_return_and_the_end(stack: Stack, open_page: OpenPage) -> None:
    hearing, voice = await hearing_and_voice(stack)
    page = await open_page(stack)
    await photograph(page, "1-start")

    await page.get_by_role("button", name="Call").click()
    session_id = (await hearing.invited()).session.session_id
    await hearing.join()
    await expect(service(page, "asr-service")).to_contain_text("ready")
    await expect(service(page, "tts-service")).to_contain_text("accepted")
    await expect(shown(page)).to_contain_text(PREPARING)
    await expect(shown(page)).to_contain_text("1 of 2 ready")
    await photograph(page, "2-waiting")

    await voice.join(await voice.invited())
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await expect(service(page, "tts-service")).to_contain_text("ready")
    await stack.until(session_id, lambda session: session.state is SessionState.ACTIVE)
    await photograph(page, "3-active")

    await voice.leave()
    await expect(shown(page)).to_contain_text(NO_VOICE)
    await expect(service(page, "asr-service")).to_contain_text("ready")
    await expect(service(page, "tts-service")).not_to_contain_text("ready")
    await photograph(page, "4-degraded")

    await voice.join(await voice.invited(2))
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await expect(service(page, "tts-service")).to_contain_text("ready")

    async with stack.http.delete(f"/api/v1/sessions/{session_id}") as answer:
        assert answer.status == 200
    await expect(shown(page)).to_contain_text(OVER)
    await expect(shown(page)).to_contain_text("It was ended.")
    await expect(page.get_by_role("button", name="Call")).to_be_visible()
    await photograph(page, "5-over")


async def test_example_page_that_joins_late_shows_the_current_status(stack: Stack, open_page: OpenPage) -> None:
    """The voice service is lost between the token and the join, so the page sees no event of it."""
    hearing, voice = await hearing_and_voice(stack)
    page = await open_page(stack)
    looked = asyncio.Event()
    may_join = asyncio.Event()

    async def hold_the_token(route: Route) -> None:
        answer = await route.fetch()
        if (await answer.json()).get("access_token") and not looked.is_set():
            looked.set()
            await may_join.wait()
        await route.fulfill(response=answer)

    await page.route("**/session/*", hold_the_token)
    session_id = await start(page, hearing, voice)
    await looked.wait()
    await voice.leave()
    await told_in_the_room(stack, session_id, SessionState.DEGRADED)
    may_join.set()
    await expect(shown(page)).to_contain_text(NO_VOICE)
    assert stack.store.get(session_id).state is SessionState.DEGRADED
    await voice.join(await voice.invited(2))
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await stack.until(session_id, lambda session: session.state is SessionState.ACTIVE)


async def test_reloaded_example_page_continues_its_call(stack: Stack, open_page: OpenPage) -> None:
    """While all services are there, and while one is lost: then it joins when that one is back."""
    hearing, voice = await hearing_and_voice(stack)
    page = await open_page(stack)
    session_id = await start(page, hearing, voice)
    await stack.until(session_id, lambda session: session.state is SessionState.ACTIVE)
    await page.reload()
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await voice.leave()
    await expect(shown(page)).to_contain_text(NO_VOICE)
    await page.route("**/session/*", lambda route: route.abort())
    await page.reload()
    await expect(shown(page)).to_contain_text("Reconnecting you…")
    await page.unroute("**/session/*")
    await expect(shown(page)).to_contain_text(NO_VOICE)
    await voice.join(await voice.invited(2))
    await stack.until(session_id, lambda session: session.state is SessionState.ACTIVE)
    await expect(shown(page)).to_contain_text(ALL_HERE)
    assert [service.attempt for service in stack.store.get(session_id).services] == [1, 2]


async def test_user_hangs_up_and_calls_again_from_the_example_page(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page(stack)
    bots = await hearing_and_voice(stack)
    first = await start(page, *bots)
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await page.get_by_role("button", name="Hang up").click()
    await expect(shown(page)).to_contain_text(OVER)
    await expect(shown(page)).to_contain_text("You left.")
    assert [(await bot.told_goodbye()).reason for bot in bots] == ["closed", "closed"]
    await page.get_by_role("button", name="Call").click()
    await expect(shown(page)).to_contain_text(PREPARING)
    second = page.url.partition("#")[2]
    assert second != first
    await page.get_by_role("button", name="Hang up").click()
    await expect(shown(page)).to_contain_text(OVER)
    await stack.until(second, lambda session: session.over)
    assert len(list(stack.store.list())) == 2


async def test_session_ends_after_its_example_page_is_left(
    start_stack: StartStack, site: Site, open_page: OpenPage
) -> None:
    stack = await start_stack(site, user_rejoin_timeout=1)
    page = await open_page(stack)
    session_id = await start(page, *await hearing_and_voice(stack))
    await expect(shown(page)).to_contain_text(ALL_HERE)
    await page.goto("about:blank")
    left = await stack.until(session_id, lambda session: session.over)
    assert left.end is not None
    assert left.end.reason is EndReason.USER_LEFT


async def test_example_page_lets_user_and_services_hear_each_other(stack: Stack, open_page: OpenPage) -> None:
    hearing, voice = await hearing_and_voice(stack)
    page = await open_page(stack)
    session_id = await start(page, hearing, voice)
    track = rtc.LocalAudioTrack.create_audio_track("voice", rtc.AudioSource(24_000, 1))
    await voice.room.local_participant.publish_track(track)
    await expect(page.locator("audio")).to_have_count(1)
    session = stack.store.get(session_id)

    async def tracks_of_the_user() -> list[str]:
        everyone = await stack.participants(session.room_name)
        return [track.name for seen in everyone if seen.identity == session.user.identity for track in seen.tracks]

    await eventually("the user's microphone", tracks_of_the_user, lambda found: len(found) == 1)


async def test_example_page_goes_on_without_a_microphone(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page(stack)
    await page.add_init_script(NO_MICROPHONE)
    await page.reload()
    await start(page, *await hearing_and_voice(stack))
    await expect(page.get_by_text("Your microphone is off: Permission denied")).to_be_visible()
    await expect(shown(page)).to_contain_text(ALL_HERE)


async def test_example_page_explains_why_a_session_failed(
    start_stack: StartStack, site: Site, open_page: OpenPage
) -> None:
    stack = await start_stack(site, ready_timeout=8)  # a busy machine needs seconds for a join
    page = await open_page(stack)
    await page.get_by_role("button", name="Call").click()
    await expect(shown(page)).to_contain_text("That did not work")
    await expect(shown(page)).to_contain_text("asr-service")
    hearing, _ = await hearing_and_voice(stack)
    await start(page, hearing)
    await expect(shown(page)).to_contain_text(OVER)
    await expect(shown(page)).to_contain_text("Not all services were ready in time.")
    await expect(service(page, "tts-service")).to_contain_text("never joined")
    await photograph(page, "6-failed")
