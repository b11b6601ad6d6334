"""What no file outside tests/ imports."""

from __future__ import annotations

import ast

import pytest

from scripts.repository import ROOT
from tests.source_code import parsed

pytestmark = pytest.mark.unit

FOLDERS = ("manager_agent", "http_api", "service_kit", "session_manager_client", "scripts", "examples", "benchmarks")


def test_nothing_outside_tests_imports_the_tests() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    imports = [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in files
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    found = [place for place, node in imports for module in _modules_of(node) if module.split(".")[0] == "tests"]
    assert len(files) > 200
    assert found == []


def _modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
