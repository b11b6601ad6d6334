"""Finds a program that Debian has as a package, or fetches the package, without root: nothing is installed.

What is fetched goes into a folder of the repository: the files of the packages, and a script that starts the program
with their libraries.
"""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts import prerequisites
from scripts.prerequisites import PrerequisiteMissing, run

APT_SOURCES = Path("/etc/apt/sources.list.d")
DEBIAN = "http://deb.debian.org/debian"


def find(program: str, home: Path) -> Path:
    """The path of the program, on the PATH or fetched into `home` earlier. Raises PrerequisiteMissing."""
    if on_path := shutil.which(program):
        return Path(on_path)
    fetched = home / program
    if fetched.exists():
        return fetched
    raise PrerequisiteMissing(f"{program} is not on the PATH")


def find_or_fetch(program: str, *, package: str, home: Path) -> Path:
    """The path of the program, whose package is fetched into `home` if it is nowhere. Takes seconds and blocks. Raises
    PrerequisiteMissing."""
    try:
        return find(program, home)
    except PrerequisiteMissing as missing:
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise PrerequisiteMissing(f"{missing}, and this script can fetch it with apt-get only") from None
    home.mkdir(exist_ok=True)
    with _locked(home / "lock"):
        if not (home / program).exists():
            prerequisites.say(program, f"fetching Debian's {package} (once, some seconds)")
            _fetch(program, package, home)
    return find(program, home)


def _fetch(program: str, package: str, home: Path) -> None:
    """Unpack the package, and what it depends on and is not installed, below `home`: that works without root, and
    changes nothing on this machine."""
    with TemporaryDirectory(prefix="fetch-", dir=home) as folder:
        scratch = Path(folder)
        packages, options = _packages(package, home, scratch)
        run(["apt-get", *options, "download", *packages], cwd=scratch)
        files = scratch / "files"
        for archive in scratch.glob("*.deb"):
            run(["dpkg", "-x", str(archive), str(files)])
        (binary,) = files.glob(f"usr/*bin/{program}")
        libraries = sorted({str(path.parent.relative_to(files)) for path in files.glob("**/*.so*")})
        kept = home / f"{program}.files"
        shutil.rmtree(kept, ignore_errors=True)
        files.replace(kept)
    starter = home / f"{program}.new"
    path = ":".join(f"$here/{kept.name}/{library}" for library in libraries)
    started = f"$here/{kept.name}/{binary.relative_to(files)}"
    starter.write_text(
        f'#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\nLD_LIBRARY_PATH="{path}" exec "{started}" "$@"\n'
    )
    starter.chmod(0o755)
    starter.replace(home / program)  # last: there is never a half of it


def _packages(package: str, home: Path, scratch: Path) -> tuple[list[str], list[str]]:
    """The packages to download, and the options of apt-get with which it knows them."""
    try:
        return _missing_packages(package, []), []
    except PrerequisiteMissing:
        # Lists of our own: in a container apt has none, and only root may write the machine's.
        lists = home / "apt"
        options = _own_lists(lists, scratch)
        run(["apt-get", *options, "update"])
        return _missing_packages(package, options), options


def _missing_packages(package: str, options: list[str]) -> list[str]:
    said = run(["apt-get", *options, "install", "--simulate", "--no-install-recommends", package])
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
