"""`scripts/bench --quick` runs the benchmarks that are short. Their figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.catalog import BENCHMARKS
from benchmarks.document import DOCUMENT
from benchmarks.result import BenchmarkResult

pytestmark = pytest.mark.live

SHORT = [one.name for one in BENCHMARKS if one.is_short]


@pytest.mark.parametrize("name", SHORT)
def test_it_runs_quickly_and_leaves_the_document_alone(name: str, tmp_path: Path) -> None:
    before = DOCUMENT.read_text(encoding="utf-8")
    assert bench.main(["--quick", "--only", name, "--out", str(tmp_path)]) == 0
    result = BenchmarkResult.read(tmp_path / f"{name}.json")
    assert (result.name, result.quick) == (name, True)
    assert all(table.figures for table in result.tables)
    assert all(check.passed for check in result.checks)
    assert DOCUMENT.read_text(encoding="utf-8") == before
