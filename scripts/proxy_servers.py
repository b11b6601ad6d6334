"""Finds nginx and Caddy for the tests of deploy/proxies/, or fetches Debian's packages of them, without root.

`python -m scripts.proxy_servers --ensure` prints where they are. If it can't, it says why the tests are skipped, or
fails if CI is set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import debian_packages, prerequisites

HOME = Path(__file__).resolve().parent.parent / ".proxies"
"""What was fetched."""
PROGRAMS = ("nginx", "caddy")


def find_or_fetch(program: str) -> Path:
    """The path of one of PROGRAMS. Takes seconds and blocks if it is fetched. Raises PrerequisiteMissing."""
    return debian_packages.find_or_fetch(program, package=program, home=HOME)


def ensure() -> Path:
    for program in PROGRAMS:
        find_or_fetch(program)
    return HOME


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("proxies", "Find nginx and Caddy or fetch them.", ensure))
