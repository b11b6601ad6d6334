"""What some tests need besides Python. Where it is missing they are skipped; in CI they fail."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LINES_SHOWN = 15  # of a program's output, in an error message


class PrerequisiteMissing(Exception):
    """It is not here, and can't be installed. The message says why."""


def are_required() -> bool:
    """Whether the tests that need it must run."""
    return bool(os.environ.get("CI"))


def run(command: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What the command prints. Raises PrerequisiteMissing if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        where = f" in {cwd}" if cwd else ""
        raise PrerequisiteMissing(f"`{' '.join(command)}` failed{where}:\n{end_of(done.stdout)}")
    return done.stdout


def end_of(output: str, lines: int = LINES_SHOWN) -> str:
    """The last lines of a program's output, for an error message."""
    return "\n".join(output.splitlines()[-lines:])


def say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def ensure(name: str, description: str, install: Callable[[], Path]) -> int:
    """The command `--ensure` of a script: print the path of what `install` finds or installs. Returns the exit
    status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--ensure", action="store_true", required=True, help="print its path")
    parser.parse_args()
    try:
        print(install())
    except PrerequisiteMissing as missing:
        if are_required():
            say(name, str(missing))
            return 1
        say(name, f"{missing}. The tests that need it are skipped")
    return 0
