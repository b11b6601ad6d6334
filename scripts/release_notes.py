"""What a release says: `python -m scripts.release_notes` prints the message of its tag, or what is missing for one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from http_api import VERSION
from scripts.repository import ROOT

RELEASED = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


class NotReleasable(Exception):
    """What is missing. The message is for the one who releases."""


def tag_message(repository: Path, version: str) -> str:
    """What the tag of this version says. Raises NotReleasable."""
    if not RELEASED.fullmatch(version):
        raise NotReleasable(f"{version} is not the number of a release, such as 1.2.3 or 1.2.3rc1")
    if changed := _git(repository, "status", "--porcelain"):
        raise NotReleasable(f"not all is committed:\n{changed}")
    if _git(repository, "tag", "--list", f"v{version}"):
        raise NotReleasable(f"the tag v{version} exists. The next version belongs into http_api/__init__.py")
    return f"livekit-session-manager {version}\n\n{chapter((repository / 'CHANGELOG.md').read_text(), version)}\n"


def chapter(changelog: str, version: str) -> str:
    """What the changelog says of this version. Raises NotReleasable if it has nothing, or no date."""
    heading = rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise NotReleasable(f"CHANGELOG.md has no chapter `## {version} - <year>-<month>-<day>` with what has changed")
    return found[1].strip()


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=repository, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def main() -> int:
    try:
        print(tag_message(ROOT, VERSION))
    except NotReleasable as problem:
        print(f"release: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
