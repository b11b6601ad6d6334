"""Measures which branches of the PURE modules the unit tests run: `scripts/coverage`.

The modules are those of the import contract `pure` in pyproject.toml. Prints each module that is not covered wholly,
with the lines and branches that no test runs, and exits with 1 if less than 98 % is covered.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from scripts import mutation_tools
from scripts.repository import ROOT

WANTED = 98.0
"""Percent of lines and branches together, as coverage.py counts them."""


def pure_files() -> Iterator[Path]:
    """The files of the modules, and of the folders, that the contract names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (modules,) = (contract["source_modules"] for contract in contracts if contract["id"] == "pure")
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        yield from sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def main(arguments: Sequence[str]) -> int:
    mutation_tools.make_importable()
    from coverage import Coverage

    include = [str(path) for path in pure_files()]
    coverage = Coverage(data_file=None, config_file=False, branch=True, include=include)
    coverage.start()
    tests = pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", *(arguments or [str(ROOT / "tests" / "unit")])])
    coverage.stop()
    covered = coverage.report(show_missing=True, skip_covered=True, precision=1)
    return int(tests) or int(covered < WANTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
