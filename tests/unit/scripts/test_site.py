"""The site of the documents: it is built without a complaint, its pages load nothing from elsewhere, and a broken link
is found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts import site as site_script
from scripts.repository import ROOT
from scripts.site import SiteNotBuilt, build, documents, linked_files
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]


class LoadedUrls(HTMLParser):
    """The URLs that a page loads when it is opened, not those that it links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = ("href",) if tag == "link" else ("src", "srcset", "poster", "data")
        self.urls += [value for name, value in attrs if name in named and value]


@pytest.fixture(scope="module", autouse=True)
def mkdocs() -> None:
    with prerequisite():
        site_script.ensure()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mkdocs: None) -> Path:
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("documents") / "site"
    build(folder)
    return folder


def foreign_urls(site: Path) -> Iterator[tuple[str, str]]:
    """What pages and style sheets load from elsewhere, each with the name of its file."""
    for page in site.rglob("*.html"):
        yield from ((page.name, url) for url in LoadedUrls(page).urls if urlsplit(url).netloc)
    for sheet in site.rglob("*.css"):
        found = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", sheet.read_text(encoding="utf-8"))
        yield from ((sheet.name, url) for url in found)


def test_the_site_has_every_document_and_every_file_that_they_link_to(site: Path) -> None:
    pages = [page.relative_to(ROOT) for page in documents()]
    built = [site / re.sub(r"README$", "index", str(page.with_suffix(""))) for page in pages]
    assert [page for page in built if not page.with_name(f"{page.name}.html").is_file()] == []
    files = {file.relative_to(ROOT) for page in documents() for file in linked_files(page) if file.suffix != ".md"}
    assert {str(file) for file in files} >= {"deploy/compose.yaml", "docs/images/room.png"}
    assert [file for file in files if not (site / file).is_file()] == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    assert LoadedUrls(site / "index.html").urls.count("assets/javascripts/mermaid.js") == 1
    assert list(foreign_urls(site)) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    links = ("settings.md#no-such-heading", "no-such-page.md", "../deploy/no-such-file.yaml")
    copies = tmp_path / "repository"
    for file in {*documents(), *(file for page in documents() for file in linked_files(page))}:
        copy = copies / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    with (copies / "docs/cli.md").open("a") as page:
        page.writelines(f"\n[Nowhere]({link})\n" for link in links)
    with pytest.raises(SiteNotBuilt) as complaint:
        build(tmp_path / "site", copies)
    complaints = [
        line for line in str(complaint.value).splitlines() if line.startswith("WARNING") and "docs/cli.md" in line
    ]
    assert [link for link in links if not any(link in line for line in complaints)] == []
