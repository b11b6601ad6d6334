"""The tiers of the tests: each can be run alone, and is explained."""

from __future__ import annotations

import re

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit


def has_tests(folder: str) -> bool:
    return any((ROOT / "tests" / folder).rglob("test_*.py"))


def test_each_documented_tier_can_be_run_alone() -> None:
    script = (ROOT / "scripts/test").read_text()
    chapter = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Tests\n")[2]
    tiers = re.findall(r"^  (\w+)\) needed=", script, re.MULTILINE)
    assert [tier for tier in tiers if has_tests(tier)] == tiers
    assert [
        folder for folder in re.findall(r"^\| `tests/(\w+)/` \|", chapter, re.MULTILINE) if has_tests(folder)
    ] == tiers
    assert f"scripts/test [{'|'.join(tiers)}]" in script


def test_a_tier_prepares_nothing_that_the_whole_run_does_not() -> None:
    script = (ROOT / "scripts/test").read_text()
    whole, *of_tiers = (set(needed.split()) for needed in re.findall(r"needed=\(([^)]*)\)", script))
    assert set().union(*of_tiers) == whole
