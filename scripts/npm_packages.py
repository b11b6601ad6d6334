"""Installs npm packages from a package-lock.json."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

LINES_SHOWN = 15  # of npm's output, in an error message


class NpmFailed(Exception):
    """The packages can't be installed. The message says why."""


def install(folder: Path) -> None:
    """Install the packages that this folder's package-lock.json lists, unless they are up to date. Raises NpmFailed."""
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".installed"
    if stamp.exists() and stamp.read_text() == lock:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise NpmFailed(f"no npm on the PATH to install the packages of {folder}")
    command = [npm, "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-LINES_SHOWN:])
        raise NpmFailed(f"`npm ci` failed in {folder}:\n{end}")
    stamp.write_text(lock)
