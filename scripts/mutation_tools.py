"""Installs what measures the tests: mutmut makes the mutants of scripts/mutate, coverage.py sees which lines tests run.

`python -m scripts.mutation_tools --ensure` installs what is missing, into an environment of its own (the group
`mutation` of pyproject.toml), and prints its path. The tests themselves need none of it.
"""

from __future__ import annotations

import sys
import sysconfig

from scripts import prerequisites
from scripts.locked_environment import LockedEnvironment

MUTATION = LockedEnvironment("mutation", takes="some seconds")
ensure, program = MUTATION.ensure, MUTATION.program


def make_importable() -> None:
    """For this process, after all that is installed in .venv."""
    base = str(ensure())
    sys.path.append(sysconfig.get_path("platlib", vars={"base": base, "platbase": base}))


if __name__ == "__main__":
    sys.exit(prerequisites.ensure(MUTATION.name, "Install the tools for mutation tests and coverage.", ensure))
