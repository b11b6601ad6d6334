"""Measure the dashboard with many changing sessions, in Chromium: `python -m benchmarks.dashboard`.

The API runs in this process, with a stand-in for LiveKit, and sessions whose users come and go. The floor is a bare
page with as many rows, whose text a script changes as often: what the browser itself needs. Windows of both take turns.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from aiohttp import web

from benchmarks.command import BenchmarkCommand
from benchmarks.filled_api import an_api
from benchmarks.result import Figure, FigureTable, Goal, WorkCheck
from benchmarks.store_growth import change_in
from manager_agent.store.memory import MemoryStore
from scripts import browser
from scripts.free_ports import free_port
from scripts.prerequisites import PrerequisiteMissing

if TYPE_CHECKING:
    from playwright.async_api import Browser

SESSIONS, QUICK_SESSIONS = 1_000, 20
ROUNDS, QUICK_ROUNDS = 5, 1
SECONDS, QUICK_SECONDS = 3.0, 0.3
CHANGES = 100
"""A second."""
TICK = 0.05
ROW_TIMEOUT_MS = 30_000
BARE, OURS = "bare page", "dashboard"
ROW = {BARE: "li", OURS: '[aria-label="Sessions, newest first"] a'}
QUIET = ["--disable-gpu", "--disable-quic", "--disable-sync", "--disable-background-networking"]
COUNT_LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration)))
  .observe({ type: "longtask", buffered: true });
"""
BYTES = """() => ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type))
  .filter(({ initiatorType }) => !["fetch", "xmlhttprequest"].includes(initiatorType))
  .reduce((sum, { transferSize }) => sum + transferSize, 0)"""
BARE_PAGE = """<!doctype html><meta charset="utf-8"><title>bare</title><ul>{rows}</ul><script>
const rows = document.querySelectorAll("li"); let next = 0;
setInterval(() => {{
  for (let n = 0; n < {a_tick}; n++) rows[next++ % rows.length].textContent = `session changed ${{next}}`;
}}, {tick_ms});
</script>"""


@dataclass(slots=True)
class ShownPage:
    name: str
    url: str
    first_row_ms: list[float] = field(default_factory=list)
    long_tasks_ms: list[float] = field(default_factory=list)
    size: int = 0
    """Bytes that were transferred for the page itself."""
    rows: int = 0
    """In the document, at the end."""

    async def round(self, browser: Browser, seconds: float) -> None:
        """Show it in a new window for so long."""
        window = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await window.new_page()
        await page.add_init_script(COUNT_LONG_TASKS)
        began = time.perf_counter()
        await page.goto(self.url, wait_until="commit")
        rows = page.locator(ROW[self.name])
        await rows.first.wait_for(timeout=ROW_TIMEOUT_MS)
        self.first_row_ms.append(1_000 * (time.perf_counter() - began))
        await asyncio.sleep(seconds)
        self.long_tasks_ms += await page.evaluate("longTasks")
        self.size, self.rows = await page.evaluate(BYTES), await rows.count()
        await window.close()


async def measure(sessions: int, rounds: int, seconds: float) -> Sequence[ShownPage]:
    from playwright.async_api import async_playwright

    async with AsyncExitStack() as stack:
        port, store = await an_api(sessions, stack)
        pages = ShownPage(BARE, await bare_page(sessions, stack)), ShownPage(OURS, f"http://127.0.0.1:{port}/")
        changing = asyncio.create_task(change(store, sessions))
        stack.callback(changing.cancel)
        playwright = await stack.enter_async_context(async_playwright())
        chromium = await playwright.chromium.launch(executable_path=browser.find(), args=QUIET)
        stack.push_async_callback(chromium.close)
        for number in range(rounds + 1):
            for page in pages:
                await page.round(chromium, seconds)
                if not number:  # the browser and the server start up
                    page.first_row_ms.clear()
                    page.long_tasks_ms.clear()
        if changing.done():
            await changing  # it failed
    return pages


async def bare_page(rows: int, stack: AsyncExitStack) -> str:
    """Returns its URL."""
    listed = "".join(f"<li>session {number}</li>" for number in range(rows))
    text = BARE_PAGE.format(rows=listed, a_tick=int(CHANGES * TICK), tick_ms=int(1_000 * TICK))

    async def show(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    app, port = web.Application(), free_port()
    app.router.add_get("/", show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return f"http://127.0.0.1:{port}/"


async def change(store: MemoryStore, sessions: int) -> None:
    """Never returns. A step is two changes: a user comes and goes."""
    step, numbers = change_in(store, sessions), count()
    while True:
        for _ in range(int(CHANGES * TICK / 2)):
            await step(next(numbers))
        await asyncio.sleep(TICK)


def table(pages: Sequence[ShownPage], sessions: int) -> FigureTable:
    figures = []
    for page in pages:
        floor = BARE if page.name == OURS else None
        goal = Goal(most=0) if page.name == OURS else None
        figures += [
            Figure.of("until the first row", page.name, page.first_row_ms, "ms", floor=floor),
            Figure(work="tasks over 50 ms", by=page.name, value=len(page.long_tasks_ms), goal=goal),
            Figure(work="the longest of them", by=page.name, unit="ms", value=max(page.long_tasks_ms, default=0)),
            Figure(work="bytes of the page", by=page.name, unit="kB", value=page.size / 1_000),
            Figure(work="rows in the document", by=page.name, value=page.rows),
        ]
    figures.sort(key=lambda one: one.work)
    return FigureTable(title=f"{sessions:,} sessions with {CHANGES} changes a second", figures=figures)


def main() -> None:
    command = BenchmarkCommand("dashboard", __doc__)
    command.add_size("sessions", SESSIONS, QUICK_SESSIONS)
    command.add_size("rounds", ROUNDS, QUICK_ROUNDS, "windows of each")
    command.add_size("seconds", SECONDS, QUICK_SECONDS, "of a window")
    asked = command.read()
    try:
        browser.find()
    except PrerequisiteMissing as error:
        sys.exit(str(error))
    pages = asyncio.run(measure(asked.sessions, asked.rounds, asked.seconds))
    shown = all(len(page.first_row_ms) == asked.rounds and page.rows for page in pages)
    command.finish(table(pages, asked.sessions), checks=[WorkCheck("each window showed rows", shown)])


if __name__ == "__main__":
    main()
