"""Finds redis-server for the tests, or fetches Debian's package of it, without root.

`python -m scripts.redis_server --ensure` prints the path of the binary. With TEST_REDIS=valkey it is valkey-server,
which Debian 12 has in its backports. Where there is neither, it says why the tests that need it are skipped, or fails
if CI is set.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts import prerequisites
from scripts.prerequisites import PrerequisiteMissing, run

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".redis"
"""What was fetched: the files of the packages, and a script that starts the server with their libraries."""
APT_SOURCES = Path("/etc/apt/sources.list.d")
DEBIAN = "http://deb.debian.org/debian"


def wanted() -> str:
    """The server that the tests use: redis or valkey, by TEST_REDIS. Raises PrerequisiteMissing for another value."""
    name = os.environ.get("TEST_REDIS", "redis")
    if name not in ("redis", "valkey"):
        raise PrerequisiteMissing("TEST_REDIS must be redis or valkey")
    return name


def find(name: str | None = None) -> Path:
    """The path of the server, on the PATH or fetched earlier. `name`: redis or valkey; None: as TEST_REDIS says. Raises
    PrerequisiteMissing."""
    name = name or wanted()
    if on_path := shutil.which(f"{name}-server"):
        return Path(on_path)
    fetched = HOME / f"{name}-server"
    if fetched.exists():
        return fetched
    raise PrerequisiteMissing(f"{name}-server is not on the PATH")


def find_or_fetch(name: str | None = None) -> Path:
    """The path of the server, which is fetched if it is nowhere. Takes seconds and blocks. Raises
    PrerequisiteMissing."""
    name = name or wanted()
    try:
        return find(name)
    except PrerequisiteMissing as missing:
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise PrerequisiteMissing(f"{missing}, and this script can fetch it with apt-get only") from None
    HOME.mkdir(exist_ok=True)
    with _locked(HOME / "lock"):
        if not (HOME / f"{name}-server").exists():
            prerequisites.say("redis", f"fetching Debian's {name}-server (once, some seconds)")
            _fetch(name)
    return find(name)


def _fetch(name: str) -> None:
    """Unpack the package, and what it depends on and is not installed, below HOME: nothing is installed, so that it
    works without root, and changes nothing on this machine."""
    with TemporaryDirectory(prefix="fetch-", dir=HOME) as folder:
        scratch = Path(folder)
        packages, options = _packages(name, scratch)
        run(["apt-get", *options, "download", *packages], cwd=scratch)
        files = scratch / "files"
        for package in scratch.glob("*.deb"):
            run(["dpkg", "-x", str(package), str(files)])
        (binary,) = files.glob(f"usr/bin/{name}-server")
        libraries = sorted({str(path.parent.relative_to(files)) for path in files.glob("**/*.so*")})
        kept = HOME / name
        shutil.rmtree(kept, ignore_errors=True)
        files.replace(kept)
    starter = HOME / f"{name}-server.new"
    path = ":".join(f"$here/{name}/{library}" for library in libraries)
    program = f"$here/{name}/{binary.relative_to(files)}"
    starter.write_text(
        f'#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nLD_LIBRARY_PATH="{path}" exec "{program}" "$@"\n'
    )
    starter.chmod(0o755)
    starter.replace(HOME / f"{name}-server")  # last: there is never a half of it


def _packages(name: str, scratch: Path) -> tuple[list[str], list[str]]:
    """The packages to download, and the options of apt-get with which it knows them."""
    try:
        return _missing_packages(name, []), []
    except PrerequisiteMissing:
        # Lists of our own: in a container apt has none, and only root may write the machine's.
        lists = HOME / "apt"
        options = _own_lists(lists, scratch)
        run(["apt-get", *options, "update"])
        return _missing_packages(name, options), options


def _missing_packages(name: str, options: list[str]) -> list[str]:
    said = run(["apt-get", *options, "install", "--simulate", "--no-install-recommends", f"{name}-server"])
    return re.findall(r"^Inst (\S+)", said, re.MULTILINE)


def _own_lists(lists: Path, scratch: Path) -> list[str]:
    """Make a folder for apt's lists, with this machine's sources and, on Debian, its backports."""
    sources = scratch / "sources"
    sources.mkdir()
    for path in (*APT_SOURCES.glob("*.list"), *APT_SOURCES.glob("*.sources")):
        shutil.copy(path, sources)
    release = platform.freedesktop_os_release()
    if release.get("ID") == "debian" and "VERSION_CODENAME" in release:
        backports = f"deb {DEBIAN} {release['VERSION_CODENAME']}-backports main\n"
        (sources / "own-backports.list").write_text(backports)
    for folder in (lists / "partial", scratch / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        "Dir::Etc::sourceparts": str(sources),
        "Dir::State::Lists": str(lists),
        "Dir::Cache": str(scratch),
        "Dir::Cache::archives": str(scratch),
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    return [word for key, value in chosen.items() for word in ("-o", f"{key}={value}")]


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """A lock between processes. The system releases it when the process ends, in whatever way."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(prerequisites.ensure("redis", "Find redis-server or fetch it.", find_or_fetch))
