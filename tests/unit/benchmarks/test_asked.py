"""The table of what is asked and reached, and its plot, are made of results, and of nothing older."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from benchmarks.asked import ASKED, AskedRow, FigureKey, asked_table, without_figure
from benchmarks.catalog import BENCHMARKS
from benchmarks.machine import Machine
from benchmarks.plot import PLOT, plot
from benchmarks.result import BenchmarkResult, Compared, Figure, FigureTable, Goal
from benchmarks.tables import NOT_MEASURED

pytestmark = pytest.mark.unit

MACHINE = Machine(cores=2, processor="CPU", kernel="Linux", load=0, versions={}, commit="c0ffee", at=datetime.now(UTC))
BARE = Figure(work="a join", by="bare", unit="ms", value=100, p99=200)
ROW = AskedRow("joins", "a bare one", "<= 1.3 x", (FigureKey("joins"),))


def results(*ours: Figure, tables: int = 1) -> list[BenchmarkResult]:
    made = [FigureTable(title=f"Table {number}", figures=[BARE, *ours]) for number in range(tables)]
    return [BenchmarkResult(name="joins", tables=made, checks=[], options={}, quick=False, seconds=1, machine=MACHINE)]


def ours(goal: Goal | None, work: str = "a join") -> Figure:
    return Figure(work=work, by="ours", unit="ms", value=120, p99=500, floor="bare", goal=goal)


def cells(found: Sequence[BenchmarkResult], row: AskedRow = ROW) -> list[list[str]]:
    """Of all lines but the head."""
    return [line.strip("| ").split(" | ") for line in asked_table([row], found).splitlines()[2:]]


@pytest.mark.parametrize(
    ("goal", "measured", "judged"),
    [
        (Goal(of=Compared.RATIO, most=1.3), "x 1.20 (120 ms)", "<= x 1.3: reached"),
        (Goal(of=Compared.RATIO, most=1.1), "x 1.20 (120 ms)", "<= x 1.1: missed"),
        (Goal(of=Compared.P99_RATIO, most=2), "p99 x 2.50 (500 ms)", "p99 <= x 2: missed"),
        (Goal(of=Compared.MORE, most=20), "floor + 20 ms", "<= floor + 20 ms: reached"),
        (Goal(of=Compared.P99_MORE, most=2), "floor + 300 ms", "p99 <= floor + 2 ms: missed"),
        (Goal(of=Compared.P99_TO_MEDIAN, most=5), "p99 4.2 x p50", "p99 <= 5 x p50: reached"),
        (Goal(most=150), "120 ms (x 1.20)", "<= 150 ms: reached"),
    ],
)
def test_a_row_has_the_part_that_its_goal_is_about(goal: Goal, measured: str, judged: str) -> None:
    assert cells(results(ours(goal))) == [
        ["joins", "a bare one", "<= 1.3 x", f"a join: {measured}", judged, "`benchmarks.joins`"]
    ]


def test_a_row_without_a_result_is_not_measured() -> None:
    assert cells([]) == [["joins", "a bare one", "<= 1.3 x", NOT_MEASURED, "", "`benchmarks.joins`"]]
    assert without_figure([ROW], []) == []


def test_a_result_without_the_figure_is_an_error() -> None:
    assert without_figure([ROW], results(ours(None)))
    assert not without_figure([ROW], results(ours(Goal(most=1))))


def test_figures_without_a_goal_are_stated_where_they_are_named() -> None:
    row = AskedRow("joins", "a bare one", "stated", (FigureKey("joins", by="ours"),))
    assert cells(results(ours(None)), row)[0][3:5] == ["a join: ours: 120 ms (x 1.20)", "stated"]


def test_tables_of_one_benchmark_are_told_apart() -> None:
    goal = Goal(of=Compared.RATIO, most=1.3)
    measured = [line[-3] for line in cells(results(ours(goal), tables=2))]
    assert [text.partition(":")[0] for text in measured] == ["Table 0", "Table 1"]


def test_each_row_names_benchmarks_that_are_listed() -> None:
    assert {key.benchmark for row in ASKED for key in row.figures} <= {one.name for one in BENCHMARKS}


def test_a_plot_is_the_same_text_for_the_same_results() -> None:
    goal = Goal(of=Compared.RATIO, most=1.1)
    drawn = plot([ROW], results(ours(goal)))
    assert drawn == plot([ROW], results(ours(goal)))
    assert "prefers-color-scheme: dark" in drawn
    bars = [one.get("class") for one in ElementTree.fromstring(drawn).iter() if one.tag.endswith("rect")]
    assert bars == ["missed"]
    assert re.search(r">joins: a join<.*>x 1.20<", drawn, re.DOTALL)


def test_a_plot_without_results_says_so() -> None:
    assert NOT_MEASURED in plot(ASKED, [])


def test_the_plot_of_the_document_is_well_formed() -> None:
    assert ElementTree.parse(PLOT).getroot().tag.endswith("svg")
