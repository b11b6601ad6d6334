"""The dashboard in a browser, with an API whose LiveKit and services are stand-ins: keys, lists of any length, errors,
the keyboard, and a phone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from playwright.async_api import Page, Route, expect

from http_api.access.principals import Scope
from http_api.settings.settings import Settings
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.store import UnknownSession
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import StillSession, still_session
from tests.browser.dashboard import PHONE, WIDE, Show
from tests.browser.sample_sessions import sample_session, user_comes, user_goes
from tests.names import NAMES
from tests.tenants import ACME, OPERATOR, WATCHER, Tenant, production
from tests.unit.sessions import ASR

pytestmark = pytest.mark.browser

Put = Callable[..., Awaitable[None]]

MANY = 1_000
ROWS_MAX = 60
"""The most rows in the document: a screenful and a few."""
COUNT_LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => Math.round(duration))))
  .observe({ type: "longtask", buffered: true });
"""
LOOK_AWAY = """(isHidden) => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
LOOKER = Tenant("looker", frozenset({Scope.SESSIONS}))


@pytest.fixture
async def put() -> AsyncIterator[Put]:
    """Put sessions without a control loop into an API until the test is over: `await put(api, session)`."""
    kept: list[tuple[Api, str]] = []

    async def put(api: Api, *sessions: Session) -> None:
        for session in sessions:
            await api.parts.store.add(session)
            kept.append((api, session.session_id))

    yield put
    for api, session_id in kept:
        with suppress(UnknownSession):
            await api.parts.store.remove(session_id)


@pytest.fixture
async def still(api: Api) -> AsyncIterator[StillSession]:
    """A session without a control loop. Requested before `show`: the window closes before the session is removed."""
    async with still_session(api) as session:
        yield session


@pytest.fixture
def show(put: Put, show: Show) -> Show:
    """Requests `put` first: the window closes before its sessions are removed."""
    return show


def origin(api: Api) -> str:
    return f"http://127.0.0.1:{api.port}"


async def use_key(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")


async def test_dashboard_asks_for_a_key_and_explains_an_insufficient_one(
    start_api: StartApi, show: Show, put: Put
) -> None:
    api = await start_api(Settings, **production())
    await put(api, sample_session(1, api.parts.clock() - 60, owner=ACME.name))
    dashboard = await show(origin(api), refused=["/api/v1/events"])
    page = dashboard.page
    await expect(page.get_by_role("heading", name="Authentication required")).to_be_visible()
    await expect(page.get_by_label("API key")).to_be_focused()
    await expect(dashboard.connection).to_have_text("Needs a key")
    await dashboard.photograph("key")
    await dashboard.is_accessible()

    await use_key(page, "ключ")
    await expect(page.get_by_text("A key consists of ASCII characters without spaces.")).to_be_visible()
    await use_key(page, "sm_wrong")
    await expect(page.get_by_role("heading", name="This key was refused")).to_be_visible()
    await use_key(page, WATCHER.key)
    await expect(page.get_by_role("heading", name="This key lacks a scope")).to_be_visible()
    await expect(page.get_by_text("Requires the scope sessions.")).to_be_visible()
    await dashboard.is_accessible()

    await use_key(page, ACME.key)
    await expect(dashboard.row("room-0001")).to_be_visible()
    assert ACME.key not in page.url
    assert ACME.key not in await page.content()
    await dashboard.choose("room-0001")
    await expect(page.get_by_text("Reading the log requires a key with the scope admin.")).to_be_visible()
    await page.reload()
    await expect(dashboard.title).to_have_text("room-0001")
    await expect(page).to_have_title(re.compile("^room-0001 · "))
    await page.get_by_role("button", name="Forget key").click()
    await expect(page.get_by_role("heading", name="Authentication required")).to_be_visible()
    await expect(page.get_by_text("room-0001")).to_have_count(0)


async def test_dashboard_names_the_missing_scope(start_api: StartApi, show: Show) -> None:
    api = await start_api(Settings, **production(api_keys=(LOOKER.entry, OPERATOR.entry)))
    dashboard = await show(origin(api), at="#/services", refused=["/api/v1/"])
    page = dashboard.page
    await use_key(page, LOOKER.key)
    await expect(page.get_by_role("heading", name="This key can't list services")).to_be_visible()
    await expect(page.get_by_text("It lacks the scope services.")).to_be_visible()
    await dashboard.is_accessible()
    await page.get_by_role("link", name="Start", exact=True).click()
    await page.get_by_label("Service ids, separated by commas").fill("asr-9, tts-9")
    await page.get_by_role("button", name="Start the session").click()
    problem = page.get_by_role("alert")
    await expect(problem).to_contain_text("asr-9 is not registered")
    await expect(problem).to_contain_text("tts-9 is not registered")
    await expect(problem).to_be_in_viewport()
    await expect(page.locator(".start [tabindex='-1']")).to_be_focused()
    await dashboard.photograph("refused")
    await dashboard.is_accessible()


async def test_form_errors_are_shown_beside_their_fields(api: Api, show: Show) -> None:
    dashboard = await show(origin(api), at="#/start", refused=["/api/v1/sessions"])
    page = dashboard.page
    await page.get_by_label("Identity").fill("sm-mine")
    await page.get_by_label("Ready within").fill("soon")
    await page.get_by_role("button", name="Start the session").click()
    await expect(page.get_by_text("Must be a number of seconds from 1 to 600.")).to_be_visible()
    await page.get_by_label("Ready within").fill("")
    await page.get_by_role("button", name="Start the session").click()
    await expect(page.locator("#user_identity-error")).to_contain_text("may not begin with 'sm-'")
    await expect(page.get_by_label("Identity")).to_be_focused()
    await dashboard.is_accessible()


async def test_session_list_renders_a_screenful_of_a_thousand_rows(api: Api, show: Show, put: Put) -> None:
    now = api.parts.clock()
    sessions = [sample_session(number, now - number) for number in range(MANY)]
    await put(api, *sessions)
    dashboard = await show(origin(api))
    page, rows = dashboard.page, dashboard.page.locator(".row")
    await page.evaluate(COUNT_LONG_TASKS)
    await expect(page.get_by_text("The newest 1,000 sessions")).to_be_visible()
    await expect(dashboard.row("room-0000")).to_be_visible()
    assert await rows.count() < ROWS_MAX

    await page.locator(".rows").evaluate("(rows) => rows.scrollTo(0, rows.scrollHeight)")
    await expect(dashboard.row(f"room-{MANY - 1:04}")).to_be_visible()
    assert await rows.count() < ROWS_MAX

    place = "(rows) => { const { top } = rows.getBoundingClientRect(); return [...rows.querySelectorAll('.row')]"
    in_sight = f"{place}.find((row) => row.getBoundingClientRect().bottom > top + 1).dataset.key; }}"
    before = await page.locator(".rows").evaluate(in_sight)
    await put(api, *(sample_session(MANY + number, now + 1 + number, room=f"new-{number}") for number in range(20)))
    for session in sessions:
        await api.parts.store.update(session.session_id, ev.SessionClosed(now))
    await expect(page.get_by_text("The newest 1,020 sessions")).to_be_visible()
    await expect(dashboard.row(f"room-{MANY - 1:04}")).to_contain_text("ended")
    await expect(page.locator(".chip", has_text="ended")).to_contain_text("1,000")
    assert await page.locator(".rows").evaluate(in_sight) == before, "what is looked at stays where it is"

    await page.get_by_role("searchbox").fill("room-0777")
    await expect(page.get_by_text("1 of the newest 1,020 sessions")).to_be_visible()
    await dashboard.choose("room-0777")
    await expect(dashboard.lane("worker-2")).to_contain_text("Ready by joining")
    await page.get_by_role("searchbox").fill("nobody is called so")
    await expect(page.get_by_text("None of the newest 1,020 sessions matches.")).to_be_visible()
    await dashboard.is_accessible()
    await page.get_by_role("button", name="Show all").click()
    await page.get_by_role("button", name="ready").click()
    await expect(page.get_by_text("20 of the newest 1,020 sessions")).to_be_visible()
    print("long tasks, in ms:", await page.evaluate("longTasks"))


async def test_dashboard_is_usable_by_keyboard(api: Api, show: Show, put: Put) -> None:
    now = api.parts.clock()
    await put(api, *(sample_session(number, now - number) for number in range(100)))
    dashboard = await show(origin(api))
    page = dashboard.page
    await expect(dashboard.row("room-0000")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    for _ in range(7):  # past the states
        await page.keyboard.press("Tab")
    await expect(dashboard.row("room-0000")).to_be_focused()

    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(dashboard.row("room-0002")).to_be_focused()
    await page.keyboard.press("End")
    await expect(dashboard.row("room-0099")).to_be_focused()
    await expect(dashboard.row("room-0099")).to_be_in_viewport()
    await page.keyboard.press("Home")
    await page.keyboard.press("PageDown")
    await expect(dashboard.row("room-0000")).not_to_be_focused()
    await page.keyboard.press("Home")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(dashboard.title).to_have_text("room-0001")
    await expect(dashboard.title).to_be_focused()

    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="End the session…")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    await dashboard.is_accessible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(dashboard.row("room-0001")).to_be_focused()
    await expect(page.get_by_role("heading", name="No session selected")).to_be_visible()
    await page.go_back()
    await expect(dashboard.title).to_have_text("room-0001")


async def test_dashboard_fits_on_a_phone(api: Api, show: Show, put: Put) -> None:
    now = api.parts.clock()
    long_name = "a-room-with-a-name-as-long-as-names-may-be-" + "and-longer-" * 7
    await put(api, sample_session(1, now - 3_000, services=32, room=long_name), user_comes(sample_session(2, now - 60)))
    await api.register("asr-1", "tts-1")
    dashboard = await show(origin(api), size=PHONE)
    page = dashboard.page
    await dashboard.fits()
    await dashboard.photograph("phone-list")
    await dashboard.is_accessible()
    await dashboard.choose("a-room-with")
    await expect(page.get_by_role("searchbox")).not_to_be_visible()
    await expect(page.locator(".lanes > li")).to_have_count(32)
    await dashboard.fits()
    await dashboard.photograph("phone-session")
    await dashboard.is_accessible()
    await page.get_by_role("link", name="All sessions").click()
    await expect(dashboard.row("room-0002")).to_be_visible()
    for view in ("Services", "Start"):
        await page.get_by_role("link", name=view, exact=True).click()
        await expect(page.get_by_role("heading", level=2)).to_be_visible()
        await dashboard.fits()
        await dashboard.photograph(f"phone-{view.lower()}")
        await dashboard.is_accessible()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_dashboard_shows_names_as_they_are(api: Api, show: Show, put: Put, size: tuple[int, int]) -> None:
    at = api.parts.clock() - 60
    given = [(f"{number:02} {name}", sample_session(number, at + number)) for number, name in enumerate(NAMES)]
    for name, session in given:
        user = User(identity=name[3:], name=name, metadata=name)
        await put(api, replace(session, room_name=name, user=user))
    dashboard = await show(origin(api), size=size)
    for name, session in reversed(given):
        await dashboard.open(f"#/sessions/{session.session_id}")
        await expect(dashboard.title).to_have_text(name)
        await expect(dashboard.page.get_by_role("article").get_by_text(name[3:], exact=True).first).to_be_visible()
        await dashboard.fits()
        if size == WIDE:  # a phone shows the list alone, and a part of it
            await expect(dashboard.row(name)).to_have_count(1)
    await dashboard.open("#/sessions")
    await dashboard.fits()


async def test_dashboard_reports_a_script_that_fails_to_load(api: Api, show: Show) -> None:
    dashboard = await show(origin(api), refused=["/dashboard/verdict.js"])
    page = dashboard.page
    await page.route("**/dashboard/verdict.js", lambda route: route.abort())
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("The page could not be loaded.")
    await page.unroute_all()
    await page.get_by_role("button", name="Reload").click()
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()


async def test_dashboard_reports_a_rendering_error_in_its_place(api: Api, show: Show, put: Put) -> None:
    """The timeline has a form that this page can't read."""
    session = sample_session(1, api.parts.clock() - 60)
    await put(api, session)
    dashboard = await show(origin(api))
    page = dashboard.page
    await page.route("**/timeline", lambda route: route.fulfill(json={"attempts": 1, "steps": [], "log": []}))
    await dashboard.row("room-0001").click()
    await expect(page.get_by_role("heading", name="Something in this page failed")).to_be_visible()
    await expect(dashboard.row("room-0001")).to_be_visible()
    await dashboard.is_accessible()
    assert dashboard.complaints != []
    dashboard.complaints.clear()


async def test_hidden_dashboard_closes_its_stream(api: Api, show: Show) -> None:
    """Six open streams would leave the browser no connection to the server."""
    dashboard = await show(origin(api), at="#/services")
    page = dashboard.page
    await page.clock.install()
    await page.reload()
    await page.clock.resume()  # it may be taken for paused since the page was loaded anew
    await expect(dashboard.connection).to_have_text("Live")
    async with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/v1/events")):
        await page.evaluate(LOOK_AWAY, True)
        await page.clock.fast_forward("00:31")
    await api.register("asr-1")
    await page.evaluate(LOOK_AWAY, False)
    await expect(page.get_by_role("row").filter(has_text="asr-1")).to_be_visible()
    await expect(dashboard.connection).to_have_text("Live")


async def test_dashboard_reports_a_hanging_server_and_retries_on_request(api: Api, show: Show) -> None:
    dashboard = await show(origin(api))
    page = dashboard.page
    await expect(dashboard.connection).to_have_text("Live")
    asked = asyncio.Semaphore(0)
    hangs = True

    async def asks(route: Route) -> None:
        if hangs:
            asked.release()
        else:
            await route.continue_()

    await page.route("**/api/v1/events", asks)
    await page.clock.install()
    await page.reload()
    await asked.acquire()
    await page.clock.fast_forward("00:11")
    await expect(dashboard.banner).to_contain_text("the server sends nothing")
    await page.get_by_role("button", name="Try now").click()
    await asked.acquire()
    await expect(dashboard.connection).to_have_text("Reconnecting")
    hangs = False
    await page.get_by_role("button", name="Try now").click()
    await expect(dashboard.connection).to_have_text("Live")


async def test_services_view_shows_load_capacity_and_lease(api: Api, show: Show) -> None:
    dashboard = await show(origin(api), at="#/services")
    page = dashboard.page
    await expect(page.get_by_role("heading", name="No services yet")).to_be_visible()
    await dashboard.is_accessible()
    body = {
        "service_id": "asr-1",
        "endpoint": "http://127.0.0.1:9001/invites",
        "metadata": {"type": "ASR", "version": "2.1.0"},
        "capacity": 4,
        "lease_seconds": 600,
    }
    await api.ask("POST", "/microservices/register", body)
    await api.ask("POST", "/microservices/asr-1/heartbeat", {"load": 0.42})
    await api.open("asr-1")
    row = page.get_by_role("row").filter(has_text="asr-1")
    await expect(row).to_contain_text("healthy")
    await expect(row.get_by_role("meter", name="In use: asr-1")).to_have_attribute("aria-valuetext", "1 of 4")
    await expect(row.get_by_role("meter", name="Load: asr-1")).to_have_attribute("aria-valuetext", "42 %")
    await expect(row).to_contain_text(re.compile(r"9 min left of 10 min"))
    await dashboard.photograph("services")
    await dashboard.is_accessible()
    await api.ask("POST", "/microservices/asr-1/heartbeat", {"draining": True})
    await expect(row).to_contain_text("draining")


async def test_timeline_view_shows_a_repeated_invite_without_a_new_revision(
    api: Api, still: StillSession, show: Show
) -> None:
    """A repeated invite of an unreachable service changes no revision."""
    await still.happens(ev.InviteRefused(api.parts.clock(), ASR, 1, 1, ev.Refusal.UNREACHABLE))
    dashboard = await show(origin(api), at=f"#{still.path}")
    lane = dashboard.lane("asr-service")
    await expect(lane).to_contain_text("invited again")
    known = still.now.revision
    await still.happens(ev.InviteStarted(api.parts.clock(), ASR, 1, 2, "sm-asr-1", "inv_0"))
    assert still.now.revision == known
    await expect(lane).to_contain_text("sent 2 times")
    await expect(lane).not_to_contain_text("invited again")


async def test_dashboard_reports_forgotten_and_unknown_sessions(api: Api, show: Show, put: Put) -> None:
    """A session that is forgotten while it is shown, and one that never existed."""
    long_ago = api.parts.clock() - 2_900
    session = user_goes(user_comes(sample_session(1, long_ago, room="forty-minutes")))
    await put(api, session)
    dashboard = await show(origin(api), at=f"#/sessions/{session.session_id}", refused=["/timeline"])
    page = dashboard.page
    await expect(dashboard.verdict).to_contain_text("The user left and did not come back in time.")
    await expect(dashboard.lane("worker-1").locator(".break")).to_have_count(1)
    await dashboard.photograph("forty-minutes")
    await api.parts.store.remove(session.session_id)
    await expect(page.get_by_text("The server has forgotten this session.")).to_be_visible()
    await expect(dashboard.lane("worker-1")).to_be_visible()
    await dashboard.is_accessible()

    await dashboard.open("#/sessions/ses_nobody")
    await page.reload()
    await expect(page.get_by_role("heading", name="Session not found")).to_be_visible()
    await dashboard.is_accessible()


async def test_dashboard_fetches_a_session_missing_from_the_feed(api: Api, show: Show, put: Put) -> None:
    """A link to a session that is older than those in the snapshot."""
    now = api.parts.clock()
    old = sample_session(MANY, now - MANY)
    await put(api, old, *(sample_session(number, now - number) for number in range(MANY)))
    dashboard = await show(origin(api), at=f"#/sessions/{old.session_id}", refused=[f"/sessions/{old.session_id}"])
    page = dashboard.page
    await expect(dashboard.title).to_have_text(old.room_name)
    await expect(dashboard.verdict).to_contain_text(f"{old.user.identity} may join.")
    await expect(dashboard.lane("worker-2")).to_contain_text("Ready by joining")
    await expect(page.get_by_text("The newest 1,000 sessions")).to_be_visible()
    await page.get_by_role("button", name="End the session…").click()
    await page.get_by_role("dialog").get_by_role("button", name="End the session").click()
    await expect(dashboard.title).to_be_focused()
    await api.parts.store.update(old.session_id, ev.SessionClosed(now))
    await expect(dashboard.verdict).to_contain_text("It was ended by request.")


async def test_timeline_view_reports_that_a_refresh_failed(api: Api, still: StillSession, show: Show) -> None:
    dashboard = await show(origin(api), refused=["/timeline"])
    page = dashboard.page
    await page.route("**/timeline", lambda route: route.fulfill(status=503, json={"title": "Out of order"}))
    await page.evaluate(f"location.hash = '{still.path}'")
    await expect(page.get_by_role("alert")).to_contain_text("Out of order")
    await page.unroute("**/timeline")
    await page.get_by_role("button", name="Try again").click()
    await expect(dashboard.lane("asr-service")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)

    await page.route("**/timeline", lambda route: route.fulfill(status=503, json={"title": "Out of order"}))
    await still.ends()
    await expect(page.get_by_text("could not be refreshed: Out of order.")).to_be_visible()
    await expect(dashboard.lane("asr-service")).not_to_contain_text("Waiting for it")
    await dashboard.photograph("old-timeline")
    await dashboard.is_accessible()
    await page.unroute("**/timeline")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_text("could not be refreshed")).to_have_count(0)


async def test_session_row_under_the_pointer_does_not_move(api: Api, show: Show, put: Put) -> None:
    """Even at the top of a short list; a button leads to the new rows."""
    now = api.parts.clock()
    await put(api, *(sample_session(number, now - number) for number in range(3)))
    dashboard = await show(origin(api))
    page, newest = dashboard.page, dashboard.row("room-0000")
    await newest.hover()
    before = await newest.bounding_box()
    await put(api, *(sample_session(number, now + number) for number in range(10, 12)))
    fresh = page.get_by_role("button", name="2 new")
    await expect(fresh).to_be_visible()
    assert await newest.bounding_box() == before
    await dashboard.photograph("new-rows")
    await dashboard.is_accessible()
    await fresh.click()
    await expect(dashboard.row("room-0011")).to_be_focused()
    await expect(dashboard.row("room-0011")).to_be_in_viewport(ratio=1)
    await expect(fresh).to_have_count(0)


async def test_keyboard_focus_survives_changes_of_the_list(api: Api, show: Show, put: Put) -> None:
    now = api.parts.clock()
    await put(api, *(sample_session(number, now - number) for number in range(3)))
    dashboard = await show(origin(api))
    page = dashboard.page
    await page.get_by_role("button", name="ready").click()
    await dashboard.row("room-0001").focus()
    await api.parts.store.update(sample_session(1, now).session_id, ev.SessionClosed(now))
    await expect(dashboard.row("room-0002")).to_be_focused()
    for number in (0, 2):
        await api.parts.store.update(sample_session(number, now).session_id, ev.SessionClosed(now))
    await expect(page.get_by_text("None of the 3 sessions matches.")).to_be_visible()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.get_by_role("button", name="Show all").click()
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await expect(dashboard.row("room-0000")).to_be_visible()
