"""The site of the documents in a real browser, opened from a disk and without a network: diagrams are drawn, the search
finds pages, and nothing is asked of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from scripts import site as site_script
from scripts.site import build
from tests.browser.conftest import TIMEOUT_MS
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

DIAGRAM = '<pre class="mermaid">'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The folder of the site."""
    with prerequisite():
        site_script.ensure()
    build(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
async def page(launched: Browser) -> Page:
    """A page of a browser without a network."""
    context = await launched.new_context(offline=True)
    return await context.new_page()


async def expect_drawn(page: Page, diagrams: int) -> None:
    """The theme replaces the text of each diagram with its drawing, in a closed shadow root."""
    drawn = page.locator("div.mermaid")
    await expect(drawn).to_have_count(diagrams)
    await expect(page.locator("pre.mermaid")).to_have_count(0)
    for diagram in await drawn.all():
        box = await diagram.bounding_box()
        assert box is not None
        assert box["height"] > 100


async def test_diagrams_are_drawn_and_the_search_works_offline(site: Path, page: Page) -> None:
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    sources = {file: file.read_text(encoding="utf-8") for file in site.rglob("*.html")}
    with_diagrams = {file: source.count(DIAGRAM) for file, source in sources.items() if DIAGRAM in source}
    assert {file.name for file in with_diagrams} >= {"index.html", "design.html"}
    for file, diagrams in with_diagrams.items():
        await page.goto(file.as_uri(), timeout=TIMEOUT_MS)
        await expect_drawn(page, diagrams)

    await page.get_by_role("textbox", name="Search").fill("fencing")
    await expect(page.locator(".md-search-result__item").first).to_be_visible()
    assert [url for url in requested if not url.startswith((site.as_uri(), "data:", "blob:"))] == []
    assert complaints == []
