"""Packages that are imported without some of their modules: in packages made for the test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from manager_agent.deferred_modules import defer_modules
from tests.unit.made_packages import loaded, made_package

pytestmark = pytest.mark.unit

FILES = {
    "__init__.py": "from .small import Small\nfrom .big import Big\ntry:\n    from .huge import Huge as Huge\n"
    "    HAS_HUGE = True\nexcept ImportError:\n    HAS_HUGE = False\n__all__ = ['Small', 'Big', 'Huge']\n",
    "small.py": "class Small: ...\n",
    "big.py": "from .small import Small\nclass Big(Small): ...\n",
    "huge.py": "from . import Small\nfrom .big import Big\nclass Huge(Big, Small): ...\n",
}
DEFERRED = {"big": ["Big"], "huge": ["Huge"]}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package, two names of which come from modules that it needs for nothing else."""
    finders = list(sys.meta_path)
    with made_package(FILES, tmp_path, monkeypatch) as name:
        yield name
        sys.meta_path[:] = finders


def imported(package: str) -> ModuleType:
    defer_modules(package, DEFERRED)
    return importlib.import_module(package)


def test_the_package_is_imported_without_the_modules(package: str) -> None:
    module = imported(package)
    assert loaded(package) == {"small"}
    assert module.Small.__name__ == "Small"
    assert module.HAS_HUGE


def test_a_name_imports_its_module_once(package: str) -> None:
    module = imported(package)
    assert module.Big.__module__ == f"{package}.big"
    assert loaded(package) == {"small", "big"}
    assert module.Big is module.big.Big is sys.modules[f"{package}.big"].Big
    assert issubclass(module.Huge, module.Big)


def test_a_module_is_a_name_of_the_package_too(package: str) -> None:
    module = imported(package)
    assert module.big is sys.modules[f"{package}.big"]
    assert "Big" in vars(module)


def test_the_modules_can_be_imported_themselves(package: str) -> None:
    module = imported(package)
    huge = importlib.import_module(f"{package}.huge")
    assert huge is module.huge
    assert huge.Huge is module.Huge


def test_the_package_tells_of_the_names(package: str) -> None:
    module = imported(package)
    assert {"Small", "Big", "Huge", "big"} <= set(dir(module))
    names: dict[str, object] = {}
    exec(f"from {package} import *", names)
    assert names["Big"] is module.Big


def test_the_package_lacks_what_it_lacked(package: str) -> None:
    module = imported(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Other'"):
        _ = module.Other
    assert loaded(package) == {"small"}


def test_no_finder_is_left_when_the_package_is_imported(package: str) -> None:
    finders = list(sys.meta_path)
    module = imported(package)
    assert sys.meta_path == finders
    assert importlib.reload(module) is module
    assert loaded(package) == {"small", "big", "huge"}


def test_a_package_that_is_already_imported_is_left_as_it_is(package: str) -> None:
    module = importlib.import_module(package)
    finders = list(sys.meta_path)
    assert imported(package) is module
    assert type(module) is ModuleType
    assert sys.meta_path == finders
