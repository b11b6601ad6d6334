"""Installs the programs that audit the packages, validate the files of deploy/ and build the site of the documents.

`python -m scripts.tools --ensure` installs what is missing, into an environment of its own (the group `tools` of
pyproject.toml), and prints its path. If it can't, it says why their tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import locked_environment, prerequisites

NAME = "tools"


def ensure() -> Path:
    """Their environment, installed unless it is up to date. Raises PrerequisiteMissing."""
    if not (locked_environment.path_of(NAME) / "installed").exists():
        prerequisites.say(NAME, "installing tools.lock (once, about half a minute)")
    return locked_environment.install(NAME)


def program(name: str) -> Path:
    """The path of one of the programs, installed if it is missing. Raises PrerequisiteMissing."""
    return ensure() / "bin" / name


if __name__ == "__main__":
    sys.exit(prerequisites.ensure(NAME, "Install the tools for audits, deploy/ and the site.", ensure))
