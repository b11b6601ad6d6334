"""Installs the generators of API clients with which the tests check the OpenAPI document.

`python -m scripts.client_generators --ensure` installs what is missing: openapi-python-client into an environment of
its own, because it needs other versions than the project, and those of TypeScript with npm. If it can't, it says why
their tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from scripts import npm_packages

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "tests" / "node"
LOCK = ROOT / "client-generators.lock"
ENVIRONMENT = Path(sys.prefix) / "client-generators"
"""Inside .venv, which is made anew for another Python."""


class GeneratorsMissing(Exception):
    """The generators can't be installed. The message says why."""


def ensure() -> None:
    """Install the generators, unless they are up to date. Raises GeneratorsMissing."""
    try:
        npm_packages.install(NODE)
        _install_python()
    except npm_packages.NpmFailed as failed:
        raise GeneratorsMissing(str(failed)) from None
    except subprocess.CalledProcessError as failed:
        raise GeneratorsMissing(f"`{' '.join(failed.cmd)}` failed:\n{failed.stderr}") from None


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
        subprocess.run(command, check=True, capture_output=True, text=True)
    stamp.write_text(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the generators of API clients, or say why they are missing.")
    parser.add_argument("--ensure", action="store_true", required=True)
    parser.parse_args()
    try:
        ensure()
    except GeneratorsMissing as missing:
        print(f"client generators: {missing}. Their tests are skipped", file=sys.stderr, flush=True)
        return 1 if os.environ.get("CI") else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
