"""Packages that are made for a test, and forgotten after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

_NUMBERS = count()


@contextmanager
def made_package(files: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its name, by which it can be imported. `files`: their sources by path within the package."""
    name = f"made_in_test_{next(_NUMBERS)}"
    for path, source in files.items():
        file = folder / name / path
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(source)
    monkeypatch.syspath_prepend(folder)
    yield name
    for loaded in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[loaded]


def loaded(package: str) -> set[str]:
    """The loaded modules of the package, by their names within it."""
    return {name.removeprefix(f"{package}.") for name in sys.modules if name.startswith(f"{package}.")}
