"""The process raises its own limit of open files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from http_api.open_files import OPEN_FILES_MAX

pytestmark = pytest.mark.api

RAISED = "import resource; from http_api.open_files import raise_limit; raise_limit(); "
SHOWN = "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


def limits_after(soft: int, hard: int) -> tuple[int, ...]:
    """The soft and the hard limit of a process that was started with these and has raised its own."""
    lowered = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    command = (sys.executable, "-c", lowered + RAISED + SHOWN)
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return tuple(map(int, run.stdout.split()))


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(256, 800, 800), (800, 800, 800), (256, 256, 256)],
    ids=["as far as it may", "nothing to raise", "no room"],
)
def test_limit_is_raised_to_the_hard_limit(soft: int, hard: int, expected: int) -> None:
    assert limits_after(soft, hard) == (expected, hard)
    assert hard < OPEN_FILES_MAX
