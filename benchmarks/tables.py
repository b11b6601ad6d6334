"""Render results: on the terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.result import BenchmarkResult, Compared, Figure, FigureTable, Goal, Layout, WorkCheck

WIDTH = 140
NONE_MEASURED = "-"
NOT_MEASURED = "not measured yet"
GOAL_COLUMN = "goal"
TEXT_COLUMNS = {"", "work", "by", GOAL_COLUMN}

Cells = tuple[Sequence[str], Sequence[Sequence[str]]]
"""The headings, and the rows."""


def show(result: BenchmarkResult) -> None:
    """Print the tables, then the checks that failed."""
    console = Console(width=WIDTH)
    for table in result.tables:
        headings, rows = cells_of(table)
        shown = Table(title=escape(table.title), title_justify="left")
        for heading in headings:
            shown.add_column(heading, justify="left" if heading in TEXT_COLUMNS else "right")
        for row in rows:
            shown.add_row(*map(escape, row))
        console.print(shown)
    for check in result.checks:
        if not check.passed:
            console.print(f"check failed: {said(check)}", markup=False)


def markdown(result: BenchmarkResult) -> str:
    """The tables and checks, and what they were measured with."""
    return "\n".join([*(line for table in result.tables for line in _markdown_table(table)), *_checks(result), ""])


def _markdown_table(table: FigureTable) -> Iterator[str]:
    headings, rows = cells_of(table)
    yield f"**{table.title}**"
    yield ""
    yield _line(headings)
    yield "|" + "|".join(" --- " if heading in TEXT_COLUMNS else " ---: " for heading in headings) + "|"
    yield from map(_line, rows)
    yield ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _checks(result: BenchmarkResult) -> Iterator[str]:
    for check in result.checks:
        yield f"- {'Checked' if check.passed else '**Failed**'}: {said(check)}"
    options = " ".join(f"`--{name} {value}`" for name, value in result.options.items())
    when = f"{result.machine.at:%Y-%m-%d}, commit {result.machine.commit or 'unknown'}"
    took = f"{result.seconds:.0f} s, load before it {result.machine.load:g}"
    yield f"- Printed {when}, in {took}{', with ' if options else ''}{options}."


def said(check: WorkCheck) -> str:
    return f"{check.what}: {check.found}" if check.found else check.what


def cells_of(table: FigureTable) -> Cells:
    return _grid(table) if table.layout is Layout.GRID else _rows(table)


def _rows(table: FigureTable) -> Cells:
    """A column is left out where no figure has anything in it."""
    columns: dict[str, Callable[[Figure], str]] = {
        "work": lambda figure: figure.work,
        "by": lambda figure: figure.by,
        "p50": lambda figure: amount(figure.value, figure.unit),
        "x floor": lambda figure: floor_ratio(table, figure, Compared.RATIO),
        "p99": lambda figure: "" if figure.p99 is None else amount(figure.p99, figure.unit),
        "p99 x floor": lambda figure: floor_ratio(table, figure, Compared.P99_RATIO),
        "spread": lambda figure: "" if figure.spread is None else f"{figure.spread:.0%}",
        "of": lambda figure: "" if figure.samples == 1 else f"{figure.samples:,}",
        GOAL_COLUMN: lambda figure: goal_cell(table, figure),
    }
    rows = {heading: [cell(figure) for figure in table.figures] for heading, cell in columns.items()}
    used = [heading for heading, cells in rows.items() if any(cells) and not (heading == "work" and one_of(cells))]
    headings = ["measured" if heading == "p50" and "p99" not in used else heading for heading in used]
    return headings, list(zip(*(rows[heading] for heading in used), strict=True))


def one_of(cells: Sequence[str]) -> bool:
    return len(set(cells)) == 1


def _grid(table: FigureTable) -> Cells:
    works = list(dict.fromkeys(figure.work for figure in table.figures))
    columns = list(dict.fromkeys(figure.by for figure in table.figures))
    by_place = {(figure.work, figure.by): figure for figure in table.figures}
    rows = []
    for work in works:
        figures = [by_place.get((work, column)) for column in columns]
        goals = [goal_cell(table, figure) for figure in figures if figure and figure.goal]
        rows.append([work, *(_grid_cell(table, figure) for figure in figures), ", ".join(goals)])
    has_goals = any(row[-1] for row in rows)
    headings = ["", *columns, GOAL_COLUMN]
    return (headings, rows) if has_goals else (headings[:-1], [row[:-1] for row in rows])


def _grid_cell(table: FigureTable, figure: Figure | None) -> str:
    if figure is None:
        return NONE_MEASURED
    compared = floor_ratio(table, figure, Compared.RATIO)
    return f"{amount(figure.value, figure.unit)} ({compared})" if compared else amount(figure.value, figure.unit)


def amount(value: float, unit: str) -> str:
    """The value with about three digits, and its unit."""
    size = abs(value)
    digits = 0 if size >= 99.5 or value == int(value) else 1 if size >= 9.95 else 2 if size >= 0.0995 else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


def ratio(value: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2 if value >= 0.0995 else 3
    return f"x {value:,.{digits}f}"


def floor_ratio(table: FigureTable, figure: Figure, what: Compared) -> str:
    """Empty for the floor itself."""
    return "" if figure.by == figure.floor else ratio(table.compared(figure, what))


def goal_cell(table: FigureTable, figure: Figure) -> str:
    """The goal of a figure, and whether it is reached."""
    if figure.goal is None:
        return ""
    reached = {True: "reached", False: "missed", None: "not compared"}[table.reached(figure)]
    return f"{goal_text(figure.goal, figure.unit)}: {reached}"


def goal_text(goal: Goal, unit: str) -> str:
    limits = [f"<= {_limit(goal.of, goal.most, unit)}"] if goal.most is not None else []
    limits += [f">= {_limit(goal.of, goal.least, unit)}"] if goal.least is not None else []
    is_p99 = goal.of in (Compared.P99, Compared.P99_RATIO, Compared.P99_MORE, Compared.P99_TO_MEDIAN)
    return ("p99 " if is_p99 else "") + " and ".join(limits)


def _limit(of: Compared, value: float, unit: str) -> str:
    match of:
        case Compared.RATIO | Compared.P99_RATIO:
            return f"x {value:.3g}"
        case Compared.P99_TO_MEDIAN:
            return f"{value:.3g} x p50"
        case Compared.MORE | Compared.P99_MORE:
            return f"floor + {value:.3g} {unit}".rstrip()
        case Compared.VALUE | Compared.P99:
            return f"{value:.3g} {unit}".rstrip()
