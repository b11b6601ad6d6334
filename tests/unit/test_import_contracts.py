"""The import contracts in pyproject.toml agree with the word PURE in docstrings and the folders in docs/design.md."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.repository import ROOT
from tests.source_code import parsed

pytestmark = pytest.mark.unit

PACKAGES = ("manager_agent", "http_api", "service_kit", "session_manager_client")
CLOCK_CALLS = frozenset({"now", "utcnow", "today", "monotonic", "perf_counter"})
BUILTIN_IO = frozenset({"open", "print", "input"})


def contracts() -> list[dict[str, Any]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return found


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def is_marked(path: Path) -> bool:
    return re.search(r"\bPURE\b", ast.get_docstring(parsed(path)) or "") is not None


def marked_pure() -> set[str]:
    """Modules whose docstring has the word. The docstring of a package speaks for all of its modules."""
    marked = {name for name, path in modules() if is_marked(path)}
    packages = tuple(f"{name}." for name, path in modules() if path.name == "__init__.py" and name in marked)
    return marked | {name for name, _ in modules() if name.startswith(packages)}


def held_pure() -> set[str]:
    """Modules that the contract holds to it: those listed, and those inside listed packages."""
    [contract] = [contract for contract in contracts() if contract["id"] == "pure"]
    listed = tuple(contract["source_modules"])
    inside = tuple(f"{name}." for name in listed)
    return {name for name, _ in modules() if name in listed or name.startswith(inside)}


def test_modules_marked_pure_are_those_that_the_contract_holds_to_it() -> None:
    assert marked_pure() == held_pure()


def test_pure_modules_read_no_clock_and_do_no_io() -> None:
    impure = {
        f"{name}:{node.lineno}"
        for name, path in modules()
        if name in held_pure()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and called(node) in CLOCK_CALLS | BUILTIN_IO
    }
    assert impure == set()


@pytest.mark.parametrize("package", ["http_api", "manager_agent"])
def test_design_md_lists_all_folders_in_the_order_of_the_layers(package: str) -> None:
    [layers] = [contract["layers"] for contract in contracts() if contract.get("containers") == [package]]
    layer_of = {name: number for number, layer in enumerate(layers) for name in layer.split(" | ")}
    listed = [name for name in folders_in_design_md(package) if name in layer_of]
    assert sorted(listed) == sorted(layer_of)
    assert listed == sorted(listed, key=lambda name: layer_of[name])


def folders_in_design_md(package: str) -> list[str]:
    """The folders and modules listed below this package, from top to bottom."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    below = re.search(rf"^{package}/ .*\n((?:  .*\n)+)", text, re.MULTILINE)
    assert below is not None, f"docs/design.md does not list {package}"
    names = re.findall(r"^  ((?:\w+(?:/|\.py)(?: |$))+)", below[1], re.MULTILINE)
    return [name.removesuffix(".py").rstrip("/") for line in names for name in line.split()]


def called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) if name in BUILTIN_IO:
            return name
        case ast.Attribute(attr=name) if name in CLOCK_CALLS:
            return name
    return ""
