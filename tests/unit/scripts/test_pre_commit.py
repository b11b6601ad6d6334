"""What git runs before a commit is what scripts/check runs."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from scripts import tools
from scripts.repository import ROOT
from tests.prerequisites import prerequisite

pytestmark = [pytest.mark.unit, pytest.mark.timeout(300)]

FILE = ROOT / ".pre-commit-config.yaml"
FOLDERS = re.compile(r"^for folder in (.*); do$", re.MULTILINE)


def test_the_hooks_are_the_stages_of_the_checks() -> None:
    check = (ROOT / "scripts/check").read_text()
    [folders] = FOLDERS.findall(check)
    stages = re.findall(r"^stage (.*)$", check, re.MULTILINE)
    expected = ["scripts/setup", *(stage.replace('"${checked[@]}"', folders) for stage in stages)]
    [repository] = yaml.safe_load(FILE.read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]] == expected
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def test_pre_commit_takes_the_configuration() -> None:
    with prerequisite():
        program = tools.program("pre-commit")
    subprocess.run([program, "validate-config", FILE], check=True)
