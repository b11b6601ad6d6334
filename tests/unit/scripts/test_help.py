"""The scripts that start something long say what they do, when they are asked, and start nothing."""

from __future__ import annotations

import subprocess

import pytest

from scripts.repository import ROOT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "command",
    [
        *(["chaos", "--help"], ["chaos", "--cluster", "--help"], ["chaos", "-h"], ["run", "--help"], ["run", "-h"]),
        *(["coverage", "--help"], ["mutate", "--help"], ["mutate", "session", "-h"]),
    ],
)
def test_help_is_the_comment_at_the_beginning(command: list[str]) -> None:
    script = ROOT / "scripts" / command[0]
    done = subprocess.run([script, *command[1:]], capture_output=True, text=True, timeout=60)
    comment = [line.removeprefix("# ") for line in script.read_text().split("\nset ")[0].splitlines()[1:]]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, comment, "")


def test_run_starts_nothing_when_its_arguments_are_unknown() -> None:
    done = subprocess.run([ROOT / "scripts" / "run", "--port=1"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "SERVER_PORT" in done.stdout) == (2, True)
