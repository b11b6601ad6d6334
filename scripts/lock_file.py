"""What requirements.lock says: each package with its lines, and why it is there.

`python -m scripts.lock_file` prints the names of the packages with which the project is installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
PROJECT = "livekit-session-manager (pyproject.toml)"
"""What a lock names as the reason for a dependency of the project. Those of a group have the group's name in it."""
PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)")
REASON = re.compile(r"^ +# (?:via |  )(\S.*)$")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    name: str
    version: str
    lines: tuple[str, ...]
    """As in the lock, with the hashes of all files, without the reasons."""
    reasons: frozenset[str]
    """The packages that need it, or PROJECT."""


def read_lock(text: str) -> dict[str, LockedPackage]:
    """The packages of a lock made by scripts/lock, by name."""
    return {package.name: package for package in map(_package, re.split(r"\n(?=[a-z0-9])", text)[1:])}


def _package(entry: str) -> LockedPackage:
    found = PACKAGE.match(entry)
    if found is None:
        raise ValueError(f"not an entry of a lock: {entry.splitlines()[0]}")
    lines = entry.splitlines()
    reasons = frozenset(match.group(1) for line in lines if (match := REASON.match(line)))
    return LockedPackage(found[1], found[2], tuple(line for line in lines if "#" not in line), reasons)


def shipped(packages: Mapping[str, LockedPackage]) -> list[LockedPackage]:
    """Those that the project needs to run, on any platform: its dependencies, and theirs. Not the development tools."""
    needed = {PROJECT}
    while more := {p.name for p in packages.values() if p.reasons & needed} - needed:
        needed |= more
    return [package for package in packages.values() if package.name in needed]


if __name__ == "__main__":
    print(*(package.name for package in shipped(read_lock(LOCK.read_text()))))
