"""The links of the documents, and the index of the decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit

DOCUMENTS = [*ROOT.glob("*.md"), ROOT / "examples/README.md", *(ROOT / "docs").rglob("*.md")]
DECISIONS = ROOT / "docs" / "decisions"
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(document: Path) -> str:
    return CODE_BLOCK.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path) -> Iterator[str]:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(document)):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert list(broken_links(document)) == []


def test_the_index_of_decisions_lists_every_note_by_its_title() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    for note in sorted(DECISIONS.glob("0*.md")):
        number, title = re.findall(r"^# (\d{4}) (.*)$", note.read_text(encoding="utf-8"), re.MULTILINE)[0]
        assert f"| [{number}]({note.name}) | {title} |" in index
