"""docs/performance.md has a place for each benchmark, and only results change it."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.catalog import BENCHMARKS
from benchmarks.document import ASKED_PLACE, DOCUMENT, MACHINE, places, render, render_all
from benchmarks.machine import Machine
from benchmarks.result import BenchmarkResult, Figure, FigureTable
from scripts.repository import ROOT

pytestmark = pytest.mark.unit

TEXT = """# Performance
<!-- printed: machine -->
old machine
<!-- end -->
Before.
<!-- printed: joins -->
old joins
<!-- end -->
Between.
<!-- printed: leaves -->
<!-- end -->
After.
"""
MACHINE_OF_TEST = Machine(
    cores=2, processor="CPU", kernel="Linux", load=0, versions={"Python": "3"}, commit="c0ffee", at=datetime.now(UTC)
)


def result(name: str, *, quick: bool = False) -> BenchmarkResult:
    table = FigureTable(title="Joins", figures=[Figure(work="a join", by="ours", value=7)])
    return BenchmarkResult(
        name=name, tables=[table], checks=[], options={}, quick=quick, seconds=1, machine=MACHINE_OF_TEST
    )


def test_a_result_replaces_what_stands_in_its_place_and_nothing_else() -> None:
    rendered = render(TEXT, [result("joins")])
    assert "| ours | 7 |" in rendered
    assert "old joins" not in rendered
    assert [line for line in rendered.splitlines() if line in TEXT.splitlines()] == [
        line for line in TEXT.splitlines() if not line.startswith("old")
    ]
    assert "2 cores (CPU), Linux; Python 3." in rendered
    assert render(rendered, [result("joins")]) == rendered


def test_without_results_the_document_stays() -> None:
    assert render(TEXT, []) == TEXT


def test_a_result_without_a_place_is_an_error() -> None:
    with pytest.raises(LookupError, match="stays"):
        render(TEXT, [result("stays")])


def test_the_document_has_a_place_for_each_benchmark() -> None:
    names = [MACHINE, ASKED_PLACE, *(one.name for one in BENCHMARKS)]
    assert sorted(places(DOCUMENT.read_text(encoding="utf-8"))) == sorted(names)


def test_a_whole_rendering_keeps_nothing_older() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    emptied = render_all(document, [])
    assert emptied.count("Not measured yet.\n<!-- end -->") == 1 + len(BENCHMARKS)
    name = BENCHMARKS[0].name
    assert render_all(render_all(document, [result(name)]), []) == emptied


@pytest.mark.parametrize("name", [one.name for one in BENCHMARKS])
def test_a_listed_benchmark_can_be_run(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_every_benchmark_is_listed() -> None:
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")}
    commands = {name for name, source in sources.items() if f'BenchmarkCommand("{name}"' in source}
    assert commands == {one.name for one in BENCHMARKS}


def test_results_are_read_where_there_are_any(tmp_path: Path) -> None:
    result("joins").write(tmp_path / "joins.json")
    assert [one.name for one in bench.read_results(tmp_path, ["joins", "leaves"])] == ["joins"]


def test_results_of_quick_runs_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "performance.md"
    document.write_text(TEXT)
    monkeypatch.setattr(bench, "DOCUMENT", document)
    bench.write_document([result("joins", quick=True)], is_whole=False)
    assert document.read_text() == TEXT


def test_a_run_says_first_what_is_coming() -> None:
    chosen = [one for one in BENCHMARKS if one.name in ("room_cost", "burst")]
    minutes = sum(one.minutes for one in chosen)
    assert bench.plan(chosen, quick=False).startswith(f"2 benchmarks, about {minutes:.0f} minutes: room_cost ")


def test_a_benchmark_that_hangs_is_stopped() -> None:
    assert bench.run_for([sys.executable, "-c", "import time; time.sleep(600)"], 0.1) != 0
