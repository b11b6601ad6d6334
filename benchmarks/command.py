"""The command line that all benchmarks share: `--quick`, `--json PATH`, and the sizes of each."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.result import BenchmarkResult, FigureTable, WorkCheck
from benchmarks.tables import show

UNMET = 1
"""Exit code when the work was not the same, or was not done: the figures say nothing then."""


class BenchmarkCommand:
    """Options of a benchmark, and what becomes of its result."""

    def __init__(self, name: str, description: str | None) -> None:
        """`name`: the module in benchmarks/."""
        self._name = name
        self._parser = argparse.ArgumentParser(
            prog=f"python -m benchmarks.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._parser.add_argument(
            "--quick", action="store_true", help="only show that it runs: the figures mean nothing"
        )
        self._parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON, too")
        self._sizes: dict[str, tuple[Any, Any]] = {}

    def add_size(self, name: str, full: Any, quick: Any, help: str | None = None) -> None:
        """An option with a number, or with several where `full` is a sequence."""
        several = isinstance(full, Sequence)
        one = full[0] if several else full
        self._sizes[name] = full, quick
        self._parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(one),
            nargs="+" if several else None,
            help=f"{help or name} (default {full}; quick: {quick})",
        )

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """The sizes by name: those of the command line, or else the full or quick ones. The clock starts."""
        asked = self._parser.parse_args(arguments)
        self._is_quick, self._json = asked.quick, asked.json
        for name, (full, quick) in self._sizes.items():
            if getattr(asked, name) is None:
                setattr(asked, name, quick if asked.quick else full)
        self._options = {name: getattr(asked, name) for name in self._sizes}
        self._machine, self._began = Machine.now(), time.monotonic()
        return asked

    def finish(self, *tables: FigureTable, checks: Sequence[WorkCheck] = ()) -> None:
        """Print the result, write it if that is asked for, and exit with 1 if a check failed."""
        result = BenchmarkResult(
            name=self._name,
            tables=tables,
            checks=checks,
            options=self._options,
            quick=self._is_quick,
            seconds=time.monotonic() - self._began,
            machine=self._machine,
        )
        show(result)
        if self._json is not None:
            result.write(self._json)
        if not all(check.passed for check in checks):
            sys.exit(UNMET)
