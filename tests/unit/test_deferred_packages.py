"""Modules without what they would load besides: in packages made for the test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from manager_agent.deferred_packages import DeferredPackage, absent_packages, deferred_packages
from tests.unit.made_packages import made_package

pytestmark = pytest.mark.unit

FILES = {
    "__init__.py": "from . import parts, twice, user\nfrom .user import seen as all_seen\nVALUE = 'of the package'\n",
    "twice.py": "class Once: ...\n",
    "user.py": "from . import parts\nfrom .parts.small import ONE\nseen = [ONE]\n",
    "late.py": "from . import VALUE\n",
    "parts/__init__.py": "from .big import BIG\n",
    "parts/big.py": "BIG = 2\n",
    "parts/small.py": "ONE = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package in which `parts` imports more than `user` needs of it."""
    with made_package(FILES, tmp_path, monkeypatch) as name:
        yield name


def imported(package: str, *deferred: str) -> ModuleType:
    """The module `user`, imported while these parts of the package are deferred."""
    with deferred_packages(*(f"{package}{part}" for part in deferred)):
        return importlib.import_module(f"{package}.user")


def loaded(package: str) -> set[str]:
    """The loaded modules of the package, by their names within it."""
    return {name.removeprefix(package) for name in sys.modules if name.startswith(package)}


def test_a_module_is_imported_without_what_its_packages_import(package: str) -> None:
    user = imported(package, "", ".parts")
    assert user.seen == [1]
    assert loaded(package) == {"", ".user", ".parts", ".parts.small"}


def test_each_package_is_deferred_by_itself(package: str) -> None:
    imported(package, "")
    assert loaded(package) == {"", ".user", ".parts", ".parts.small", ".parts.big"}


@pytest.mark.parametrize("name", ["VALUE", "all_seen"])
def test_a_name_of_the_package_runs_its_init_once(package: str, name: str) -> None:
    user = imported(package, "", ".parts")
    module = sys.modules[package]
    assert isinstance(module, DeferredPackage)
    assert getattr(module, name)
    assert type(module) is ModuleType
    assert module.all_seen is user.seen, "what was imported before is not imported again"
    assert not hasattr(module, "no such name")


def test_a_module_that_was_not_imported_in_the_block_finds_the_whole_package(package: str) -> None:
    imported(package, "", ".parts")
    assert importlib.import_module(f"{package}.late").VALUE == "of the package"


def test_a_module_that_the_package_imports_too_is_imported_once(package: str) -> None:
    imported(package, "", ".parts")
    twice = importlib.import_module(f"{package}.twice")
    assert twice is sys.modules[package].twice
    assert twice.__spec__ is not None
    assert twice.__spec__.origin == twice.__file__


def test_what_is_imported_in_the_block_can_be_imported_again_without_the_rest(package: str) -> None:
    user = imported(package, "", ".parts")
    assert importlib.import_module(f"{package}.user") is user
    assert isinstance(sys.modules[package], DeferredPackage)


def test_what_tools_look_for_in_any_module_runs_nothing(package: str) -> None:
    imported(package, "")
    module = sys.modules[package]
    assert not hasattr(module, "__warningregistry__")
    assert module.__file__ is not None
    assert isinstance(module, DeferredPackage)


def test_a_package_that_is_already_imported_is_left_as_it_is(package: str) -> None:
    before = importlib.import_module(package)
    imported(package, "", ".parts")
    assert sys.modules[package] is before
    assert before.VALUE == "of the package"


def test_after_the_block_packages_are_imported_as_ever(package: str) -> None:
    imported(package, "", ".parts")
    finders = list(sys.meta_path)
    for name in loaded(package):
        del sys.modules[f"{package}{name}"]
    assert importlib.import_module(package).VALUE == "of the package"
    assert loaded(package) >= {".parts.big", ".twice"}
    with pytest.raises(ModuleNotFoundError), deferred_packages(package):
        importlib.import_module(f"{package}.missing")
    assert sys.meta_path == finders


def test_no_finder_is_removed_that_another_thread_may_be_asking(package: str) -> None:
    with deferred_packages(package):
        finders = list(sys.meta_path)
    assert sys.meta_path == finders


def test_an_absent_package_is_as_if_it_were_not_installed_within_the_block(package: str) -> None:
    with absent_packages(package), pytest.raises(ImportError):
        importlib.import_module(f"{package}.user")
    assert importlib.import_module(package).VALUE == "of the package"


def test_an_absent_package_that_is_already_imported_is_left_as_it_is(package: str) -> None:
    before = importlib.import_module(package)
    with absent_packages(package):
        assert importlib.import_module(package) is before
    assert sys.modules[package] is before
