"""docs/performance.md: text written by hand, and places between marks for what benchmarks print.

A place is `<!-- printed: NAME -->` to `<!-- end -->`, with NAME a benchmark, `machine` or `asked`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.asked import ASKED, asked_table
from benchmarks.catalog import BENCHMARKS
from benchmarks.machine import Machine
from benchmarks.result import BenchmarkResult
from benchmarks.tables import NOT_MEASURED, markdown
from scripts.repository import ROOT

DOCUMENT = ROOT / "docs/performance.md"
MACHINE, ASKED_PLACE = "machine", "asked"
PLACE = re.compile(r"(?<=^<!-- printed: )(\w+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)


def places(document: str) -> list[str]:
    """The names of the places, as they follow each other."""
    return [match[1] for match in PLACE.finditer(document)]


def render(document: str, results: Sequence[BenchmarkResult]) -> str:
    """The document with the results in their places. Other places keep what they have.

    Raises LookupError if a result has no place.
    """
    return _filled(document, _printed(results))


def render_all(document: str, results: Sequence[BenchmarkResult]) -> str:
    """The document with these results and no others: benchmarks without a result are not measured.

    Raises LookupError if a result has no place.
    """
    unmeasured = dict.fromkeys((MACHINE, *(one.name for one in BENCHMARKS)), f"{NOT_MEASURED.capitalize()}.\n")
    return _filled(document, unmeasured | _printed(results) | {ASKED_PLACE: asked_table(ASKED, results)})


def _printed(results: Sequence[BenchmarkResult]) -> dict[str, str]:
    printed = {result.name: markdown(result) for result in results}
    if results:
        printed[MACHINE] = described(max((result.machine for result in results), key=lambda machine: machine.at))
    return printed


def _filled(document: str, printed: Mapping[str, str]) -> str:
    if missing := printed.keys() - set(places(document)):
        raise LookupError(f"no place in the document for {', '.join(sorted(missing))}")

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        return f"{name}{match[2]}{printed[name]}" if name in printed else match[0]

    return PLACE.sub(replaced, document)


def described(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"{machine.cores} cores ({machine.processor}), {machine.kernel}; {versions}.\n"
