"""The live tests' stack, and browsers that show pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright, expect

from scripts import browser
from tests.api.conftest import api, start_api  # noqa: F401 - fixtures
from tests.browser.dashboard import Dashboard, Show, shown
from tests.live.conftest import (  # noqa: F401 - fixtures, and the hook that shows logs
    Stack,
    livekit_binary,
    no_room_outlives_its_loop,
    pytest_runtest_makereport,
    site,
    stack,
    start_server,
    start_stack,
)
from tests.prerequisites import prerequisite

QUIET = ["--disable-gpu", "--disable-quic", "--disable-sync", "--disable-background-networking"]
"""Beyond playwright's own options: the browser fetches nothing but the page."""
PRETEND = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""A microphone that beeps, and may be used without asking."""
TIMEOUT_MS = 60_000

expect.set_options(timeout=TIMEOUT_MS)

Browse = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A machine without Chromium skips these tests; CI fails."""
    with prerequisite():
        browser.install_packages()
        return browser.find()


@pytest.fixture
async def launched(chromium: Path) -> AsyncIterator[Browser]:
    """A browser for one test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET + PRETEND)
        yield browser
        await browser.close()


@pytest.fixture
async def show(launched: Browser) -> AsyncIterator[Show]:
    """The page at / of a server: `await show(origin, size=PHONE)`, opened at an address `at` after the #.
    `refused`: parts of the addresses that may answer no 2xx."""
    async with AsyncExitStack() as windows:

        async def show(origin: str, *, at: str = "", **how: Any) -> Dashboard:
            dashboard = await windows.enter_async_context(shown(launched, origin, **how))
            await dashboard.open(at)
            return dashboard

        yield show


@pytest.fixture
async def browse(chromium: Path) -> AsyncIterator[Browse]:
    """Serve pages at 127.0.0.1 and open one: `await browse(app, port)`, or `browse(app, port, "/react")`."""
    errors: list[str] = []
    async with AsyncExitStack() as cleanup:

        async def browse(app: web.Application, port: int, path: str = "/") -> Page:
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            cleanup.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", port).start()
            playwright = await cleanup.enter_async_context(async_playwright())
            launched = await playwright.chromium.launch(executable_path=chromium, args=QUIET + PRETEND)
            cleanup.push_async_callback(launched.close)
            page = await launched.new_page(viewport={"width": 640, "height": 480})
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: print(f"page: {line.text}"))  # a failed test shows it
            await page.goto(f"http://127.0.0.1:{port}{path}")
            return page

        yield browse
    assert errors == []
