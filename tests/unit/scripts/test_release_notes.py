"""When a version can be released, and what its tag says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.release_notes import NotReleasable, tag_message

pytestmark = pytest.mark.unit

CHANGELOG = """# Changelog

## Unreleased

- What comes next.

## 1.2.0 - 2026-11-28

- A second thing.

## 1.1.0 - 2026-10-01

- A first thing.
"""


def git(repository: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "Begin")
    return tmp_path


def test_the_tag_says_what_the_changelog_says_of_the_version(repository: Path) -> None:
    assert tag_message(repository, "1.2.0") == "livekit-session-manager 1.2.0\n\n- A second thing.\n"
    assert "A first thing" in tag_message(repository, "1.1.0")


@pytest.mark.parametrize("version", ["1.2", "1.2.0.dev0", "unreleased", "1.2.0 "])
def test_other_versions_are_no_releases(repository: Path, version: str) -> None:
    with pytest.raises(NotReleasable, match="not the number of a release"):
        tag_message(repository, version)


def test_a_version_without_a_chapter_is_not_released(repository: Path) -> None:
    with pytest.raises(NotReleasable, match=r"no chapter `## 1\.3\.0"):
        tag_message(repository, "1.3.0")


def test_a_version_is_released_once(repository: Path) -> None:
    git(repository, "tag", "v1.2.0")
    with pytest.raises(NotReleasable, match=r"the tag v1\.2\.0 exists"):
        tag_message(repository, "1.2.0")


def test_uncommitted_changes_are_not_released(repository: Path) -> None:
    (repository / "new.py").write_text("")
    with pytest.raises(NotReleasable, match=r"new\.py"):
        tag_message(repository, "1.2.0")
