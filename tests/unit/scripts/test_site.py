"""The site of the documents: it is built without a complaint, and a broken link is found."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from scripts import tools
from scripts.livekit_server import ROOT
from scripts.site import SiteNotBuilt, build, documents, linked_files
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def mkdocs() -> None:
    with prerequisite():
        tools.ensure()


def test_the_site_has_every_document_and_every_file_that_they_link_to(tmp_path: Path) -> None:
    build(tmp_path / "site")
    pages = [page.relative_to(ROOT) for page in documents()]
    built = [tmp_path / "site" / re.sub(r"README$", "index", str(page.with_suffix(""))) for page in pages]
    assert [page for page in built if not page.with_name(f"{page.name}.html").is_file()] == []
    files = {file.relative_to(ROOT) for page in documents() for file in linked_files(page) if file.suffix != ".md"}
    assert {str(file) for file in files} >= {"deploy/compose.yaml", "docs/images/room.png"}
    assert [file for file in files if not (tmp_path / "site" / file).is_file()] == []


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
