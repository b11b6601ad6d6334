"""Installs what tests/browser needs besides Python: Chromium, livekit-client for the example page, and the
packages of tests/node.

`python -m scripts.browser --ensure` installs what is missing: Debian's Chromium with apt-get (needs root), the rest
with npm. If it can't, it says why the browser tests are skipped, or fails if CI is set.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scripts import npm_packages

NAMES = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "examples" / "web", ROOT / "tests" / "node")
"""The folders with a package-lock.json to install with npm."""
APT_GET = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")
LINES_SHOWN = 15  # of a program's output, in an error message


class BrowserMissing(Exception):
    """The browser tests can't run here. The message says why."""


def is_required() -> bool:
    """Whether the browser tests must run: they are never skipped in CI."""
    return bool(os.environ.get("CI"))


def find() -> Path:
    """The browser on the PATH. Raises BrowserMissing."""
    for name in NAMES:
        if path := shutil.which(name):
            return Path(path)
    raise BrowserMissing("no Chromium on the PATH")


def install() -> None:
    """Install Debian's Chromium. Raises BrowserMissing."""
    if _system() != "debian":
        raise BrowserMissing("no Chromium on the PATH, and this script can install it on Debian only")
    if os.geteuid() != 0:
        raise BrowserMissing("no Chromium on the PATH, and only root can install it (apt-get install chromium)")
    _say("installing Debian's Chromium (once, about half a minute)")
    started = time.monotonic()
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*APT_GET, "update"], env=env, capture_output=True)  # errors don't matter if the install succeeds
    _run([*APT_GET, "install", "--yes", "--no-install-recommends", "chromium", "fonts-liberation"], env=env)
    _say(f"installed in {time.monotonic() - started:.0f} s")


def install_packages() -> None:
    """Install the npm packages of PACKAGES, unless they are up to date. Raises BrowserMissing."""
    try:
        for folder in PACKAGES:
            npm_packages.install(folder)
    except npm_packages.NpmFailed as failed:
        raise BrowserMissing(str(failed)) from None


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return platform.system()


def _run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-LINES_SHOWN:])
        raise BrowserMissing(f"`{' '.join(command)}` failed:\n{end}")


def _say(line: str) -> None:
    print(f"browser: {line}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Install what the browser tests need, or say why they are skipped.")
    parser.add_argument("--ensure", action="store_true", required=True, help="print the path of the browser")
    parser.parse_args()
    try:
        try:
            find()
        except BrowserMissing:
            install()
        install_packages()
        print(find())
    except BrowserMissing as missing:
        if is_required():
            _say(str(missing))
            return 1
        _say(f"{missing}. tests/browser is skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
