"""Installs the generators of API clients with which the tests check the OpenAPI document.

`python -m scripts.client_generators --ensure` installs what is missing: openapi-python-client into an environment of
its own, because it needs other versions than the project, and those of TypeScript with npm. If it can't, it says why
their tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from scripts import npm_packages, prerequisites
from scripts.prerequisites import run

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "tests" / "node"
LOCK = ROOT / "client-generators.lock"
ENVIRONMENT = Path(sys.prefix) / "client-generators"
"""Inside .venv, which is made anew for another Python."""


def ensure() -> Path:
    """The environment of openapi-python-client. Installs the generators, unless they are up to date. Raises
    PrerequisiteMissing."""
    npm_packages.install(NODE)
    _install_python()
    return ENVIRONMENT


def _install_python() -> None:
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    python = str(ENVIRONMENT / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(LOCK)],
    ):
        run(command)
    stamp.write_text(lock)


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("client generators", "Install the generators of API clients.", ensure))
