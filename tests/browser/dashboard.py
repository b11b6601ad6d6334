"""The dashboard in a browser: what a test does with it, and what it must never do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Locator, Page, expect

from scripts.repository import ROOT

SCREENSHOTS = ROOT / "build" / "screenshots"
AXE = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDE, PHONE = (1280, 800), (360, 740)

NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""
ACCESSIBILITY = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const tell = ({ target, failureSummary }) => `${target} ${failureSummary}`;
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(tell).join("; ")}`);
}"""
NOT_DONE = ("Failed to load resource", "net::ERR")
"""Console messages of answers that are not 2xx, and of failed requests."""
TOO_WIDE = """() => {
  const isClipped = (element) => element.closest(".table, pre, .unseen, .row, .track") !== null;
  const tell = (element) => `${element.tagName}.${element.className}`;
  const boxes = document.querySelectorAll("html, main, .pane, .list, .rows");
  const wide = [...boxes].filter((box) => box.scrollWidth > box.clientWidth).map(tell);
  const out = [...document.querySelectorAll("main *, .top *, aside *")]
    .filter((element) => element.getClientRects().length && !isClipped(element))
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
  return [...wide, ...out.map(tell)];
}"""


@dataclass
class Dashboard:
    page: Page
    origin: str
    livekit: tuple[str, ...] = ()
    """Other origins that the page may call: LiveKit."""
    refused: list[str] = field(default_factory=list)
    """Parts of the URLs that may fail or answer without a 2xx."""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Console warnings and errors, and uncaught exceptions."""

    async def open(self, hash: str = "") -> None:
        await self.page.goto(f"{self.origin}/{hash}")

    def row(self, text: str) -> Locator:
        """The row of the session with this text."""
        return self.page.get_by_role("list", name="Sessions, newest first").get_by_role("link").filter(has_text=text)

    async def choose(self, text: str) -> None:
        await self.row(text).click()
        await expect(self.title).to_be_visible()

    @property
    def title(self) -> Locator:
        return self.page.get_by_role("article").get_by_role("heading", level=2)

    @property
    def verdict(self) -> Locator:
        return self.page.locator(".verdict")

    def lane(self, service_id: str, attempt: int | None = None) -> Locator:
        """The lane of one service, or of one of its attempts."""
        lane = self.page.locator(".lanes > li").filter(has_text=service_id)
        return lane if attempt is None else lane.filter(has_text=f"attempt {attempt}")

    @property
    def connection(self) -> Locator:
        return self.page.locator(".connection")

    @property
    def banner(self) -> Locator:
        return self.page.locator(".banner")

    async def is_accessible(self) -> None:
        """Assert by axe that the page is accessible, in light and dark."""
        await self.page.evaluate(AXE.read_text())
        for scheme in SCHEMES:
            await self.page.emulate_media(color_scheme=scheme)
            violations = await self.page.evaluate(ACCESSIBILITY)
            assert violations == [], f"{scheme}: {violations}"
        await self.page.emulate_media(color_scheme="light")

    async def photograph(self, name: str) -> None:
        for scheme in SCHEMES:
            await self.page.emulate_media(color_scheme=scheme)
            await self.page.screenshot(path=SCREENSHOTS / f"dashboard-{name}-{scheme}.png")
        await self.page.emulate_media(color_scheme="light")

    async def fits(self) -> None:
        """Assert that no element is wider than the window or its container."""
        too_wide = await self.page.evaluate(TOO_WIDE)
        assert too_wide == [], too_wide

    async def keeps_to_itself(self) -> None:
        """Assert that the page called only this server and LiveKit, violated no policy, and logged nothing."""
        assert [url for url in self.requests if not url.startswith((f"{self.origin}/", *self.livekit))] == []
        assert await self.page.evaluate("window.violations") == []
        assert self.complaints == [], self.complaints


Show = Callable[..., Awaitable[Dashboard]]


@asynccontextmanager
async def shown(
    browser: Browser,
    origin: str,
    *,
    size: tuple[int, int] = WIDE,
    livekit: str = "",
    refused: Sequence[str] = (),
    **context: Any,
) -> AsyncIterator[Dashboard]:
    """The dashboard of the server at `origin` in a new window. Checks at the end what the page did."""
    width, height = size
    window = await browser.new_context(
        viewport={"width": width, "height": height}, permissions=["microphone"], **context
    )
    page = await window.new_page()
    dashboard = Dashboard(page, origin, (livekit, livekit.replace("ws", "http", 1)) if livekit else (), list(refused))
    page.on("request", lambda request: dashboard.requests.append(request.url))
    page.on("websocket", lambda socket: dashboard.requests.append(socket.url))
    page.on("pageerror", lambda error: dashboard.complaints.append(str(error)))

    def heard(kind: str, text: str, url: str) -> None:
        print(f"page: {kind}: {text} {url}")  # a failed test shows it
        is_expected = any(words in text for words in NOT_DONE) and any(part in url for part in dashboard.refused)
        if kind in ("error", "warning") and not is_expected:
            dashboard.complaints.append(f"{text} {url}")

    page.on("console", lambda said: heard(said.type, said.text, said.location.get("url", "")))
    await page.add_init_script(NOTE_VIOLATIONS)
    yield dashboard
    await dashboard.keeps_to_itself()
    await window.close()
