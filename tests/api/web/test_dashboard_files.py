"""The dashboard page and its files."""

from __future__ import annotations

import re

import pytest

from http_api.web.dashboard import PAGE, allowed
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api

SCRIPTS = [name for name in PAGE.loads if name.endswith(".js")]
OWN_SCRIPTS = sorted(set(SCRIPTS) - {"preact.js", "livekit-client.js"})
MEDIA = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}


async def test_dashboard_page_loads_from_this_server_only(api: Api) -> None:
    async with api.http.get("/") as answer:
        assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
        page = await answer.text()
        assert answer.headers["Content-Security-Policy"] == allowed("ws://localhost:7880")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        tag = answer.headers["ETag"]
    assert not re.search(r"<script(?![^>]* src=)|\bon\w+=|style=|//", page)
    named = re.findall(r'(?:src|href)="dashboard/([^"]+)"', page)
    assert "app.js" in named
    assert set(named) <= set(PAGE.loads)
    async with api.http.get("/", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
        assert answer.headers["Content-Security-Policy"] == allowed("ws://localhost:7880")


@pytest.mark.parametrize("name", OWN_SCRIPTS)
def test_imports_of_dashboard_scripts_are_served(name: str) -> None:
    script = PAGE.loads[name].content.decode()
    imported = re.findall(r'(?:\bfrom |\bimport\(|^import )"([^"]+)"', script, re.MULTILINE)
    assert {path.removeprefix("./") for path in imported} <= set(PAGE.loads)
    assert not re.search(r"innerHTML|outerHTML|document\.write|\beval\(", script, re.IGNORECASE)


@pytest.mark.parametrize("name", PAGE.loads)
async def test_files_of_the_dashboard_page_are_served(api: Api, name: str) -> None:
    async with api.http.get(f"/dashboard/{name}") as answer:
        assert (answer.status, answer.content_type) == (200, MEDIA[name.rpartition(".")[2]])
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert await answer.read() == PAGE.loads[name].content


@pytest.mark.parametrize(
    "path", ["/dashboard/index.html", "/dashboard/LICENSE", "/dashboard/..%2Fdashboard.py", "/dashboard/"]
)
async def test_other_paths_below_dashboard_are_404(api: Api, path: str) -> None:
    status, _, problem = await api.ask("GET", "/" + path)
    assert (status, problem["title"]) == (404, "Unknown path")
