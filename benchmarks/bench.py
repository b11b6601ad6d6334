"""Run benchmarks one after another, each in a process of its own, and put their tables into docs/performance.md.

    scripts/bench [--quick] [--only NAME ...] [--render]

Each writes its result as JSON into build/benchmarks (build/benchmarks-quick with --quick), from which the document and
its plot are made: --render makes them without a run. With --only, the other tables of the document stay as they are. A
quick run shows that the benchmarks run, and leaves the document alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.asked import ASKED, without_figure
from benchmarks.catalog import BENCHMARKS, ListedBenchmark
from benchmarks.document import DOCUMENT, render, render_all
from benchmarks.plot import PLOT, plot
from benchmarks.result import BenchmarkResult
from scripts.repository import ROOT

RESULTS, QUICK_RESULTS = ROOT / "build/benchmarks", ROOT / "build/benchmarks-quick"
OVERTIME = 4
"""A benchmark that takes this many times its minutes hangs, and is stopped."""
MINUTES_MIN = 2.0
"""Of a benchmark, before that is taken: imports and the start of servers count too."""
STOP_TIMEOUT = 20.0


def main(arguments: Sequence[str] | None = None) -> int:
    asked = read_arguments(arguments)
    folder: Path = asked.out or (QUICK_RESULTS if asked.quick else RESULTS)
    chosen = [one for one in BENCHMARKS if not asked.only or one.name in asked.only]
    failed = [] if asked.render else run_all(chosen, folder, quick=asked.quick)
    results = read_results(folder, [one.name for one in chosen])
    if not asked.quick:
        write_document(results, is_whole=not asked.only)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    missing = without_figure(ASKED, results)
    if missing:
        print(f"no such figure in the results: {'; '.join(missing)}", file=sys.stderr)
    return 1 if failed or missing else 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only show that they run: the figures mean nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[one.name for one in BENCHMARKS])
    parser.add_argument("--render", action="store_true", help="run nothing: take the results of the last run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results, instead of the one in build/")
    return parser.parse_args(arguments)


def run_all(chosen: Sequence[ListedBenchmark], folder: Path, *, quick: bool) -> list[str]:
    """Returns the names of those that failed. Their results of an earlier run are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    print(plan(chosen, quick=quick), flush=True)
    failed = []
    for number, one in enumerate(chosen, 1):
        began, path = time.monotonic(), folder / f"{one.name}.json"
        path.unlink(missing_ok=True)
        print(f"== {number} of {len(chosen)}: {one.name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{one.name}", "--json", str(path), *(["--quick"] if quick else [])]
        if run_for(command, 60 * OVERTIME * max(one.minutes, MINUTES_MIN)):
            failed.append(one.name)
        print(f"== {time.monotonic() - began:.0f} s", flush=True)
    return failed


def plan(chosen: Sequence[ListedBenchmark], *, quick: bool) -> str:
    if quick:
        return f"{len(chosen)} benchmarks, some seconds each"
    steps = ", ".join(f"{one.name} {one.minutes:g}" for one in chosen)
    return f"{len(chosen)} benchmarks, about {sum(one.minutes for one in chosen):.0f} minutes: {steps}"


def run_for(command: Sequence[str], seconds: float) -> int:
    """The exit code of the command, which is stopped after so long."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"stopped after {seconds:.0f} s", file=sys.stderr)
        return stopped(process)
    except BaseException:
        stopped(process)
        raise


def stopped(process: subprocess.Popen[bytes]) -> int:
    """Stop it, and what it has started, if it still can."""
    process.terminate()
    try:
        return process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def read_results(folder: Path, names: Sequence[str]) -> list[BenchmarkResult]:
    """Those that there are, in the order of the names."""
    paths = (folder / f"{name}.json" for name in names)
    return [BenchmarkResult.read(path) for path in paths if path.exists()]


def write_document(results: Sequence[BenchmarkResult], *, is_whole: bool) -> None:
    """Put the results of whole runs into the document; the plot and the table of goals need all of them."""
    results = [one for one in results if not one.quick]
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(render_all(text, results) if is_whole else render(text, results), encoding="utf-8")
    if is_whole:
        PLOT.write_text(plot(ASKED, results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
