"""Installs the generators of API clients with which the tests check the OpenAPI document.

`python -m scripts.client_generators --ensure` installs what is missing: openapi-python-client into an environment of
its own, because it needs other versions than the project, and those of TypeScript with npm. If it can't, it says why
their tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import npm_packages, prerequisites
from scripts.locked_environment import LockedEnvironment
from scripts.repository import ROOT

NODE = ROOT / "tests" / "node"
GENERATORS = LockedEnvironment("client-generators", takes="some seconds")
ENVIRONMENT = GENERATORS.path


def ensure() -> Path:
    """The environment of openapi-python-client. Installs the generators, unless they are up to date. Raises
    PrerequisiteMissing."""
    npm_packages.install(NODE)
    return GENERATORS.ensure()


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("client generators", "Install the generators of API clients.", ensure))
