"""One class name, one meaning: no two classes of the repository share a name."""

from __future__ import annotations

import ast
import gc
import subprocess
from collections import defaultdict
from collections.abc import Iterator

import pytest

from scripts.repository import ROOT
from tests.source_code import parsed

pytestmark = pytest.mark.unit


@pytest.fixture
def without_collections() -> Iterator[None]:
    """CPython 3.11 fails to parse when a finalizer that runs meanwhile raises ("AST constructor recursion depth
    mismatch"), and other tests leave objects with such finalizers behind."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collections")
def test_no_class_name_is_used_twice() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True)
    places: dict[str, list[str]] = defaultdict(list)
    for path in listed.splitlines():
        for node in ast.walk(parsed(ROOT / path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
