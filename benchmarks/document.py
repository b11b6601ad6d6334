"""docs/performance.md: text written by hand, and places between marks for what benchmarks print.

A place is `<!-- printed: NAME -->` to `<!-- end -->`, with NAME a benchmark or `machine`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from benchmarks.machine import Machine
from benchmarks.result import BenchmarkResult
from benchmarks.tables import markdown
from scripts.livekit_server import ROOT

DOCUMENT = ROOT / "docs/performance.md"
MACHINE = "machine"
PLACE = re.compile(r"(?<=^<!-- printed: )(\w+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)


def places(document: str) -> list[str]:
    """The names of the places, as they follow each other."""
    return [match[1] for match in PLACE.finditer(document)]


def render(document: str, results: Iterable[BenchmarkResult]) -> str:
    """The document with the results in their places. Other places keep what they have.

    Raises LookupError if a result has no place.
    """
    printed = {result.name: markdown(result) for result in results}
    machines = [result.machine for result in results]
    if machines:
        printed[MACHINE] = described(max(machines, key=lambda machine: machine.at))
    if missing := printed.keys() - set(places(document)):
        raise LookupError(f"no place in the document for {', '.join(sorted(missing))}")

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        return f"{name}{match[2]}{printed[name]}" if name in printed else match[0]

    return PLACE.sub(replaced, document)


def described(machine: Machine) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"{machine.cores} cores ({machine.processor}), {machine.kernel}; {versions}.\n"
