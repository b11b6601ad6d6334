"""/docs in a real browser: what it shows, and that it calls only this server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from http_api.routes import OPERATIONS
from tests.api.stand_ins import Api, StartApi
from tests.browser.conftest import QUIET
from tests.browser.dashboard import NOTE_VIOLATIONS, SCREENSHOTS

pytestmark = pytest.mark.browser


@dataclass
class Docs:
    api: Api
    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Console warnings and errors, and uncaught exceptions."""


@pytest.fixture
async def docs(chromium: Path, start_api: StartApi) -> AsyncIterator[Docs]:
    """The docs page of a new API, open in a browser."""
    api = await start_api()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = await browser.new_page(viewport={"width": 1100, "height": 900})
        docs = Docs(api, page)
        page.on("request", lambda request: docs.requests.append(request.url))
        page.on("pageerror", lambda error: docs.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: docs.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        await page.add_init_script(NOTE_VIOLATIONS)
        await page.goto(f"http://127.0.0.1:{api.port}/docs")
        yield docs
        await browser.close()


async def test_docs_page_shows_and_calls_this_api_only(docs: Docs) -> None:
    page = docs.page
    await expect(page.get_by_role("heading", name="LiveKit session manager")).to_be_visible()
    await expect(page.get_by_text("Create a session.")).to_be_visible()
    documented = [operation for operation in OPERATIONS if operation.is_documented]
    await expect(page.locator(".opblock")).to_have_count(len(documented))

    await page.get_by_text("Create a session.").click()
    command = f"curl http://127.0.0.1:{docs.api.port}/api/v1/sessions"
    await expect(page.locator(".opblock-description").get_by_text(command)).to_be_visible()
    await page.screenshot(path=SCREENSHOTS / "docs.png")

    await page.get_by_text("Liveness probe.").click()
    await page.get_by_role("button", name="Try it out").last.click()
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table").get_by_text('"status": "ok"')).to_be_visible()

    assert f"http://127.0.0.1:{docs.api.port}/livez" in docs.requests
    origin = f"http://127.0.0.1:{docs.api.port}/"
    assert [url for url in docs.requests if not url.startswith((origin, "data:", "blob:"))] == []
    assert await page.evaluate("window.violations") == []
    assert docs.complaints == []


async def test_docs_page_follows_dark_mode_and_fits_a_phone(docs: Docs) -> None:
    page = docs.page
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert await page.evaluate("document.documentElement.classList.contains('dark-mode')") is False
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    await expect(page.locator("html.dark-mode")).to_have_count(1)
    assert await page.evaluate(background) != light
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.get_by_text("Create a session.").click()
    await expect(page.locator(".opblock-description")).to_be_visible()
    await page.screenshot(path=SCREENSHOTS / "docs_phone.png", full_page=True)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert docs.complaints == []
