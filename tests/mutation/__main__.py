"""Change the code in small ways and see whether the unit tests notice: `scripts/mutate`. Prints how many of each
module's mutants were killed, and each that survived. Exits with 1 if fewer than 90 % were killed in a part.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import islice

import pytest

from scripts import mutation_tools
from scripts.repository import ROOT
from tests.mutation.accepted import Accepted, read_accepted
from tests.mutation.campaign import Campaign, Mutant, MutantOutcome, Tried
from tests.mutation.parts import PARTS, MutatedPart

WANTED = 90.0
"""Percent."""
SURVIVING = (MutantOutcome.SURVIVED, MutantOutcome.NOT_RUN)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--module", default="", help="only the mutants of this module of the part")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth mutant: a sample")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - PARTS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    parts = chosen.parts or list(PARTS)
    if len(parts) == 1:
        return 0 if _is_well_tested(parts[0], chosen.module, chosen.every) else 1
    options = ["--module", chosen.module, "--every", str(chosen.every)]
    # A process each: what one part's tests have imported and configured is not there for the next.
    return max([subprocess.run([sys.executable, "-m", "tests.mutation", name, *options]).returncode for name in parts])


def _is_well_tested(name: str, module: str, every: int) -> bool:
    began = time.monotonic()
    part = PARTS[name]
    mutants = list(islice(_mutants(part, module), 0, None, every))
    sample = f", each {every}th" if every > 1 else ""
    print(f"== {name}: {len(mutants)} mutants{sample}", flush=True)
    tried: list[Tried] = []
    accepted = read_accepted()

    def report(one: Tried) -> None:
        tried.append(one)
        if one.outcome in SURVIVING:
            print(_described(one, accepted), flush=True)

    if _run(part, mutants, report) != pytest.ExitCode.OK:
        return False
    print(f"   {len(mutants) - len(tried)} do the same as the code and are not counted")
    return _print_scores(tried, accepted, time.monotonic() - began)


def _mutants(part: MutatedPart, module: str) -> list[Mutant]:
    program = ROOT / "tests" / "mutation" / "mutants.py"
    command = [str(mutation_tools.program("python")), str(program), *part.files(module)]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [Mutant(*json.loads(line)) for line in made.splitlines()]


def _run(part: MutatedPart, mutants: Sequence[Mutant], report: Callable[[Tried], None]) -> int:
    """Run the part's tests in this process, over and over."""
    mutation_tools.make_importable()
    from coverage import Coverage

    files = sorted({str(ROOT / mutant.path) for mutant in mutants})
    coverage = Coverage(data_file=None, config_file=False, include=files)
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "-n", "0", "--capture", "sys", "-p", "no:cacheprovider", "--basetemp", f"{folder}/tests"]
        tests = [str(ROOT / name) for name in part.tests]
        return pytest.main([*options, *tests], plugins=[Campaign(mutants, coverage, report)])


def _described(one: Tried, accepted: Accepted) -> str:
    reason = accepted.reason(one)
    heading = f"{one.path}:{one.line} {one.function}: {one.outcome}{f', accepted: {reason}' if reason else ''}"
    return "\n".join((heading, *(f"    {line}" for line in one.change.splitlines())))


def _print_scores(tried: Sequence[Tried], accepted: Accepted, seconds: float) -> bool:
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for one in tried:
        for row in (one.path, "all"):
            by_module[row][one.outcome] += 1
            by_module[row]["accepted"] += one.outcome in SURVIVING and accepted.reason(one) is not None
    columns = (*MutantOutcome, "accepted")
    print(f"   {'module':44} mutants {' '.join(f'{name:>9}' for name in columns)}  killed %")
    for path in sorted(by_module, key=lambda path: (path == "all", path)):
        counts = by_module[path]
        numbers = " ".join(f"{counts[name]:9}" for name in columns)
        print(f"   {path:44} {_total(counts):7} {numbers} {_score(counts):9.1f}")
    print(f"== {seconds:.0f} s")
    return _score(by_module["all"]) >= WANTED


def _score(counts: Counter[str]) -> float:
    """Percent of all mutants, those that are accepted among them."""
    return 100 * (counts[MutantOutcome.KILLED] + counts[MutantOutcome.TIMED_OUT]) / (_total(counts) or 1)


def _total(counts: Counter[str]) -> int:
    return sum(counts[outcome] for outcome in MutantOutcome)


if __name__ == "__main__":
    sys.exit(main())
