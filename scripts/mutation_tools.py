"""Installs what measures the tests: mutmut makes the mutants of scripts/mutate, coverage.py sees which lines tests run.

`python -m scripts.mutation_tools --ensure` installs what is missing, into an environment of its own (the group
`mutation` of pyproject.toml), and prints its path. The tests themselves need none of it.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from scripts import locked_environment, prerequisites

NAME = "mutation"


def ensure() -> Path:
    """Their environment, installed unless it is up to date. Raises PrerequisiteMissing."""
    if not (locked_environment.path_of(NAME) / "installed").exists():
        prerequisites.say(NAME, "installing mutation.lock (once, some seconds)")
    return locked_environment.install(NAME)


def program(name: str) -> Path:
    """The path of one of the programs, installed if it is missing. Raises PrerequisiteMissing."""
    return ensure() / "bin" / name


def make_importable() -> None:
    """For this process, after all that is installed in .venv."""
    base = str(ensure())
    sys.path.append(sysconfig.get_path("platlib", vars={"base": base, "platbase": base}))


if __name__ == "__main__":
    sys.exit(prerequisites.ensure(NAME, "Install the tools for mutation tests and coverage.", ensure))
