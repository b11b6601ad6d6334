"""Installs npm packages from a package-lock.json."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path

from scripts.prerequisites import PrerequisiteMissing, run


def install(folder: Path) -> None:
    """Install the packages that this folder's package-lock.json lists, unless they are up to date. Raises
    PrerequisiteMissing."""
    with (folder / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # npm removes node_modules first, which another process may be using
        _install(folder, hashlib.sha256(lock.read()).hexdigest())


def _install(folder: Path, lock: str) -> None:
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise PrerequisiteMissing(f"no npm on the PATH to install the packages of {folder}")
    run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder)
    stamp.write_text(lock)
