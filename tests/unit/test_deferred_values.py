"""Modules that take what they need later from modules that are not loaded yet: in packages made for the test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from manager_agent.deferred_values import DeferredValue, deferred_values
from tests.unit.made_packages import loaded, made_package

pytestmark = pytest.mark.unit

FILES = {
    "__init__.py": "from . import big, small\nfrom .big import Big, double\n",
    "small.py": "class Small: ...\n",
    "big.py": "from .small import Small\nFOUR = 4\nclass Big(Small):\n    one = 1\n"
    "def double(number, times=1): return 2 * number * times\n",
    "user.py": "from . import big, double\nfrom .big import Big\nfrom .small import Small\n"
    "def six(): return double(3)\ndef twelve(): return big.double(3, times=2)\ndef four(): return big.FOUR\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package of which `user` uses the module `big` only when it is called."""
    with made_package(FILES, tmp_path, monkeypatch) as name:
        yield name


def imported(package: str) -> ModuleType:
    """The module `user`."""
    with deferred_values(package, "big"):
        return importlib.import_module(f"{package}.user")


def test_a_module_is_imported_without_the_module_that_it_uses_later(package: str) -> None:
    user = imported(package)
    assert loaded(package) == {"small", "user"}
    assert user.Small.__name__ == "Small"


@pytest.mark.parametrize(("use", "value"), [("six", 6), ("twelve", 12), ("four", 4)])
def test_the_module_is_loaded_when_it_is_used(package: str, use: str, value: int) -> None:
    assert getattr(imported(package), use)() == value
    assert loaded(package) == {"small", "user", "big"}


def test_a_stand_in_has_the_attributes_of_what_it_stands_for(package: str) -> None:
    user = imported(package)
    assert user.Big.one == 1
    assert isinstance(user.Big(), sys.modules[f"{package}.big"].Big)
    with pytest.raises(AttributeError, match="two"):
        _ = user.Big.two
    with pytest.raises(AttributeError, match="missing"):
        _ = user.big.missing


def test_the_package_has_what_it_imported_from_the_module(package: str) -> None:
    imported(package)
    whole = sys.modules[package]
    assert not {"big", "Big", "double"} & set(vars(whole))
    assert {"big", "Big", "double"} <= set(dir(whole))
    assert whole.Big is whole.big.Big is sys.modules[f"{package}.big"].Big
    assert issubclass(whole.Big, whole.small.Small)


def test_the_module_can_be_imported_itself(package: str) -> None:
    user = imported(package)
    big = importlib.import_module(f"{package}.big")
    assert big is sys.modules[package].big
    assert not isinstance(big.double, DeferredValue)
    assert user.double.__call__(3) == 6


def test_modules_that_are_already_imported_are_left_as_they_are(package: str) -> None:
    whole = importlib.import_module(package)
    big = sys.modules[f"{package}.big"]
    user = imported(package)
    assert user.big is big
    assert user.double is big.double
    assert type(whole) is ModuleType


def test_no_stand_in_is_left_after_an_import_that_failed(package: str) -> None:
    with pytest.raises(ModuleNotFoundError), deferred_values(package, "big"):
        importlib.import_module(f"{package}.missing")
    assert loaded(package) == {"small"}
    assert sys.modules[package].double(2) == 4


def test_a_package_that_is_not_imported_in_the_block_is_left_as_it_is(package: str) -> None:
    with deferred_values(package, "big"):
        pass
    assert type(importlib.import_module(package)) is ModuleType
    assert loaded(package) == {"small", "big"}
