"""Installs what tests/browser needs besides Python: Chromium, livekit-client for the example page, and the
packages of tests/node.

`python -m scripts.browser --ensure` installs what is missing: Debian's Chromium with apt-get (needs root), the rest
with npm. If it can't, it says why the browser tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts import npm_packages, prerequisites
from scripts.prerequisites import PrerequisiteMissing, run
from scripts.repository import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = (ROOT / "examples" / "web", ROOT / "tests" / "node")
"""The folders with a package-lock.json to install with npm."""
APT_GET = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")


def find() -> Path:
    """The browser on the PATH. Raises PrerequisiteMissing."""
    for name in NAMES:
        if path := shutil.which(name):
            return Path(path)
    raise PrerequisiteMissing("no Chromium on the PATH")


def find_or_install() -> Path:
    """The browser, which is installed if there is none, and so are the packages. Raises PrerequisiteMissing."""
    try:
        path = find()
    except PrerequisiteMissing:
        install()
        path = find()
    install_packages()
    return path


def install() -> None:
    """Install Debian's Chromium. Raises PrerequisiteMissing."""
    if _system() != "debian":
        raise PrerequisiteMissing("no Chromium on the PATH, and this script can install it on Debian only")
    if os.geteuid() != 0:
        raise PrerequisiteMissing("no Chromium on the PATH, and only root can install it (apt-get install chromium)")
    prerequisites.say("browser", "installing Debian's Chromium (once, about half a minute)")
    started = time.monotonic()
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*APT_GET, "update"], env=env, capture_output=True)  # errors don't matter if the install succeeds
    run([*APT_GET, "install", "--yes", "--no-install-recommends", "chromium", "fonts-liberation"], env=env)
    prerequisites.say("browser", f"installed in {time.monotonic() - started:.0f} s")


def install_packages() -> None:
    """Install the npm packages of PACKAGES, unless they are up to date. Raises PrerequisiteMissing."""
    for folder in PACKAGES:
        npm_packages.install(folder)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return platform.system()


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("browser", "Install what the browser tests need.", find_or_install))
