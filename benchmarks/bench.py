"""Run benchmarks one after another, each in a process of its own, and put their tables into docs/performance.md.

    scripts/bench [--quick] [--only NAME ...] [--render]

Each writes its result as JSON into build/benchmarks (build/benchmarks-quick with --quick), from which the tables are
made: --render makes them without a run. A quick run shows that the benchmarks run, and leaves the document alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalog import BENCHMARKS
from benchmarks.document import DOCUMENT, render
from benchmarks.result import BenchmarkResult
from scripts.livekit_server import ROOT

RESULTS, QUICK_RESULTS = ROOT / "build/benchmarks", ROOT / "build/benchmarks-quick"


def main(arguments: Sequence[str] | None = None) -> int:
    asked = read_arguments(arguments)
    folder: Path = asked.out or (QUICK_RESULTS if asked.quick else RESULTS)
    names = asked.only or [one.name for one in BENCHMARKS]
    failed = [] if asked.render else run_all(names, folder, quick=asked.quick)
    if not asked.quick:
        document = render(DOCUMENT.read_text(encoding="utf-8"), read_results(folder, names))
        DOCUMENT.write_text(document, encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only show that they run: the figures mean nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[one.name for one in BENCHMARKS])
    parser.add_argument("--render", action="store_true", help="run nothing: take the results of the last run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results, instead of the one in build/")
    return parser.parse_args(arguments)


def run_all(names: Sequence[str], folder: Path, *, quick: bool) -> list[str]:
    """Returns the names of those that failed. Their results of an earlier run are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in names:
        began, path = time.monotonic(), folder / f"{name}.json"
        path.unlink(missing_ok=True)
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(path), *(["--quick"] if quick else [])]
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
        print(f"== {time.monotonic() - began:.0f} s", flush=True)
    return failed


def read_results(folder: Path, names: Sequence[str]) -> list[BenchmarkResult]:
    """Those of whole runs that there are: without one, a benchmark keeps its place in the document as it was."""
    paths = (folder / f"{name}.json" for name in names)
    return [result for path in paths if path.exists() and not (result := BenchmarkResult.read(path)).quick]


if __name__ == "__main__":
    sys.exit(main())
