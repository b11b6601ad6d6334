"""Installs npm packages from a package-lock.json."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from scripts.prerequisites import PrerequisiteMissing, run


def install(folder: Path) -> None:
    """Install the packages that this folder's package-lock.json lists, unless they are up to date. Raises
    PrerequisiteMissing."""
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise PrerequisiteMissing(f"no npm on the PATH to install the packages of {folder}")
    run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder)
    stamp.write_text(lock)
