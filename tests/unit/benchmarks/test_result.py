"""Results of benchmarks: ratios, goals, JSON, and the tables made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.command import BenchmarkCommand
from benchmarks.machine import Machine
from benchmarks.result import BenchmarkResult, Compared, Figure, FigureTable, Goal, Layout, WorkCheck
from benchmarks.tables import amount, cells_of, markdown, ratio

pytestmark = pytest.mark.unit

FLOOR = Figure(work="a join", by="bare", unit="ms", value=100, p99=200)
OURS = Figure(work="a join", by="ours", unit="ms", value=120, p99=500, floor="bare")
TABLE = FigureTable(title="Joins", figures=(FLOOR, OURS))


def result(*tables: FigureTable, checks: tuple[WorkCheck, ...] = ()) -> BenchmarkResult:
    return BenchmarkResult(
        name="joins",
        tables=tables,
        checks=checks,
        options={"rooms": 3},
        quick=True,
        seconds=1.0,
        machine=Machine.now(),
    )


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(most=120), True),
        (Goal(most=119), False),
        (Goal(least=120), True),
        (Goal(least=121), False),
        (Goal(of=Compared.RATIO, most=1.2), True),
        (Goal(of=Compared.RATIO, most=1.1), False),
        (Goal(of=Compared.MORE, most=20), True),
        (Goal(of=Compared.MORE, most=19), False),
        (Goal(of=Compared.P99, most=499), False),
        (Goal(of=Compared.P99_RATIO, most=2.5), True),
        (Goal(of=Compared.P99_MORE, most=300), True),
        (Goal(of=Compared.P99_TO_MEDIAN, most=4), False),
        (None, None),
    ],
)
def test_a_goal_is_about_the_figure_or_its_distance_from_the_floor(goal: Goal | None, reached: bool | None) -> None:
    assert TABLE.reached(replace(OURS, goal=goal)) is reached


@pytest.mark.parametrize("of", [Compared.RATIO, Compared.P99_MORE])
def test_a_goal_without_a_measured_floor_is_neither_reached_nor_missed(of: Compared) -> None:
    lonely = replace(OURS, floor="missing", goal=Goal(of=of, most=1))
    assert FigureTable(title="", figures=(FLOOR, lonely)).reached(lonely) is None


def test_a_floor_is_a_figure_of_the_same_work() -> None:
    other = replace(OURS, work="a leave")
    assert FigureTable(title="", figures=(FLOOR, other)).compared(other, Compared.RATIO) is None


def test_a_figure_of_samples_has_their_median_p99_and_spread() -> None:
    figure = Figure.of("a join", "ours", [4, 1, 2, 3, 5], "ms")
    assert (figure.value, figure.p99, figure.samples) == (3, 5, 5)
    assert figure.spread == pytest.approx(2 / 3)


def test_one_sample_has_no_p99() -> None:
    assert Figure.of("a start", "ours", [7.0], "s").p99 is None


def test_json_keeps_everything(tmp_path: Path) -> None:
    goal = Goal(of=Compared.RATIO, most=1.3)
    table = FigureTable(title="Joins", figures=[FLOOR, replace(OURS, goal=goal)], layout=Layout.GRID)
    written = result(table, checks=(WorkCheck("all joined", True, "2 of 2"),))
    written.write(tmp_path / "joins.json")
    read = BenchmarkResult.read(tmp_path / "joins.json")
    read.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "joins.json").read_text()
    assert list(read.tables[0].figures) == list(table.figures)
    assert read.machine == written.machine


def test_rows_show_ratios_and_leave_out_columns_without_cells() -> None:
    headings, rows = cells_of(TABLE)
    assert headings == ["by", "p50", "x floor", "p99", "p99 x floor"]
    assert rows[1] == ("ours", "120 ms", "x 1.20", "500 ms", "x 2.50")


def test_a_grid_has_a_column_for_each_alternative() -> None:
    asked = replace(OURS, goal=Goal(of=Compared.RATIO, most=1.1))
    headings, rows = cells_of(FigureTable(title="Joins", figures=(FLOOR, asked), layout=Layout.GRID))
    assert headings == ["", "bare", "ours", "goal"]
    assert rows == [["a join", "100 ms", "120 ms (x 1.20)", "<= x 1.1: missed"]]


def test_a_grid_shows_what_was_not_measured() -> None:
    other = Figure(work="a leave", by="ours", value=1)
    _, rows = cells_of(FigureTable(title="Joins", figures=(FLOOR, OURS, other), layout=Layout.GRID))
    assert rows[1] == ["a leave", "-", "1"]


def test_markdown_says_what_was_checked_and_with_what() -> None:
    text = markdown(result(TABLE, checks=(WorkCheck("all joined", False, "1 of 2"),)))
    assert "| ours | 120 ms | x 1.20 | 500 ms | x 2.50 |" in text
    assert "- **Failed**: all joined: 1 of 2" in text
    assert "`--rooms 3`" in text


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5, "1,234 ms"), (99.6, "100 ms"), (12.34, "12.3 ms"), (3.0, "3 ms"), (0.054, "0.054 ms")]
)
def test_amounts_have_about_three_digits(value: float, shown: str) -> None:
    assert amount(value, "ms") == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (0.0049, "x 0.005"), (1.046, "x 1.05"), (12.34, "x 12.3"), (1234.5, "x 1,234")]
)
def test_ratios_are_precise_near_one(value: float | None, shown: str) -> None:
    assert ratio(value) == shown


@pytest.mark.parametrize(("arguments", "rooms"), [([], 300), (["--quick"], 2), (["--quick", "--rooms", "5"], 5)])
def test_a_size_is_asked_for_or_full_or_quick(arguments: list[str], rooms: int) -> None:
    command = BenchmarkCommand("joins", "")
    command.add_size("rooms", 300, quick=2)
    assert command.read(arguments).rooms == rooms


def test_several_numbers_are_a_size_too() -> None:
    command = BenchmarkCommand("joins", "")
    command.add_size("sizes", (1, 2), quick=(1,))
    assert command.read(["--sizes", "3", "4"]).sizes == [3, 4]


def test_a_failed_check_is_shown_and_ends_with_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = BenchmarkCommand("joins", "")
    command.read(["--json", str(tmp_path / "joins.json")])
    with pytest.raises(SystemExit, match="1"):
        command.finish(TABLE, checks=[WorkCheck("all joined", False, "1 of 2")])
    assert "check failed: all joined: 1 of 2" in capsys.readouterr().out
    assert not BenchmarkResult.read(tmp_path / "joins.json").checks[0].passed
