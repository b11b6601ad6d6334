"""Installs the programs that audit the packages, validate the files of deploy/ and build the site of the documents.

`python -m scripts.tools --ensure` installs what is missing, into an environment of its own (the group `tools` of
pyproject.toml), and prints its path. If it can't, it says why their tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import sys

from scripts import prerequisites
from scripts.locked_environment import LockedEnvironment

TOOLS = LockedEnvironment("tools", takes="about half a minute")
ensure, program = TOOLS.ensure, TOOLS.program


if __name__ == "__main__":
    sys.exit(prerequisites.ensure(TOOLS.name, "Install the tools for audits, deploy/ and the site.", ensure))
