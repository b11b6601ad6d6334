"""Environments of their own, inside .venv, for tools that need other versions than the project: one for each lock other
than requirements.lock."""

from __future__ import annotations

import fcntl
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts import prerequisites
from scripts.repository import ROOT


@dataclass(frozen=True, slots=True)
class LockedEnvironment:
    """The environment of <name>.lock."""

    name: str
    takes: str
    """How long it takes to install, in words."""

    @property
    def path(self) -> Path:
        """Where it is or will be: inside .venv, which is made anew for another Python."""
        return Path(sys.prefix) / self.name

    def ensure(self) -> Path:
        """Its path. Installed unless it is up to date, which blocks. Raises PrerequisiteMissing."""
        if not _stamp(self.path).exists():
            prerequisites.say(self.name, f"installing {self.name}.lock (once, {self.takes})")
        with self.path.with_suffix(".installing").open("w") as installing:
            fcntl.flock(installing, fcntl.LOCK_EX)  # released by the system when this process ends, in whatever way
            _install(ROOT / f"{self.name}.lock", self.path)
        return self.path

    def program(self, name: str) -> Path:
        """The path of one of its programs, installed if it is missing. Raises PrerequisiteMissing."""
        return self.ensure() / "bin" / name


def _stamp(environment: Path) -> Path:
    """The file with the digest of the lock that was installed."""
    return environment / "installed"


def _install(lock: Path, environment: Path) -> None:
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = _stamp(environment)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    python = str(environment / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(lock)],
    ):
        prerequisites.run(command)
    stamp.write_text(wanted)
