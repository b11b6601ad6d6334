"""One class name, one meaning: no two classes of the repository share a name."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict

import pytest

from scripts.livekit_server import ROOT

pytestmark = pytest.mark.unit


def test_no_class_name_is_used_twice() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True)
    places: dict[str, list[str]] = defaultdict(list)
    for path in listed.splitlines():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
