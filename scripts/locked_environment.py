"""Environments of their own, inside .venv, for tools that need other versions than the project: one for each lock other
than requirements.lock."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from pathlib import Path

from scripts.prerequisites import run

ROOT = Path(__file__).resolve().parent.parent


def path_of(name: str) -> Path:
    """Where the environment of <name>.lock is or will be: inside .venv, which is made anew for another Python."""
    return Path(sys.prefix) / name


def install(name: str) -> Path:
    """The environment of <name>.lock, installed unless it is up to date. Takes seconds and blocks. Raises
    PrerequisiteMissing."""
    lock, environment = ROOT / f"{name}.lock", path_of(name)
    with environment.with_suffix(".installing").open("w") as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)  # released by the system when this process ends, in whatever way
        _install(lock, environment)
    return environment


def _install(lock: Path, environment: Path) -> None:
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = environment / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    python = str(environment / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(lock)],
    ):
        run(command)
    stamp.write_text(wanted)
