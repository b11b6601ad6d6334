"""What a benchmark has measured: the one shape that all of them return, and its JSON.

A table consists of figures. Figures of the same `work` are alternatives, told apart by their `by`: a design, a size, or
the floor that the others are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Self

from pydantic import JsonValue, TypeAdapter

from benchmarks.machine import Machine
from benchmarks.measuring import percentile


class Compared(StrEnum):
    """The part of a figure that a goal is about. `ratio` and `more` are to the floor of the figure."""

    VALUE = "value"
    P99 = "p99"
    RATIO = "ratio"
    P99_RATIO = "p99 ratio"
    MORE = "more"
    P99_MORE = "p99 more"
    P99_TO_MEDIAN = "p99 / p50"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure is to reach."""

    of: Compared = Compared.VALUE
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured."""

    work: str
    by: str
    unit: str = ""
    value: float
    """The median of the samples."""
    p99: float | None = None
    spread: float | None = None
    """The distance between the quartiles, as a share of the median."""
    samples: int = 1
    floor: str | None = None
    """The `by` of the figure of the same work that this one is compared with."""
    goal: Goal | None = None

    @classmethod
    def of(
        cls, work: str, by: str, samples: Iterable[float], unit: str = "", *, floor: str | None = None,
        goal: Goal | None = None,
    ) -> Self:  # fmt: skip
        """The figure of these samples, of which there is at least one."""
        values = sorted(samples)
        middle = median(values)
        spread = (percentile(values, 75) - percentile(values, 25)) / abs(middle) if middle else None
        p99 = percentile(values, 99) if len(values) > 1 else None
        return cls(
            work=work, by=by, unit=unit, value=middle, p99=p99, spread=spread, samples=len(values), floor=floor,
            goal=goal,
        )  # fmt: skip


class Layout(StrEnum):
    ROWS = "rows"
    """A row for each figure, with all that is known of it."""
    GRID = "grid"
    """A row for each work and a column for each `by`, with value and ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureTable:
    title: str
    figures: Sequence[Figure]
    layout: Layout = Layout.ROWS

    def floor_of(self, figure: Figure) -> Figure | None:
        return next((one for one in self.figures if one.work == figure.work and one.by == figure.floor), None)

    def compared(self, figure: Figure, what: Compared) -> float | None:
        """That part of the figure; None where it, or its floor, was not measured."""
        floor = self.floor_of(figure)
        least, least_p99 = (floor.value, floor.p99) if floor else (None, None)
        match what:
            case Compared.VALUE:
                return figure.value
            case Compared.P99:
                return figure.p99
            case Compared.P99_TO_MEDIAN:
                return _ratio(figure.p99, figure.value)
            case Compared.RATIO:
                return _ratio(figure.value, least)
            case Compared.P99_RATIO:
                return _ratio(figure.p99, least_p99)
            case Compared.MORE:
                return _more(figure.value, least)
            case Compared.P99_MORE:
                return _more(figure.p99, least_p99)

    def reached(self, figure: Figure) -> bool | None:
        """Whether the figure reaches its goal; None if it has none, or can't be compared."""
        goal = figure.goal
        if goal is None or (value := self.compared(figure, goal.of)) is None:
            return None
        return (goal.most is None or value <= goal.most) and (goal.least is None or value >= goal.least)


def _ratio(value: float | None, floor: float | None) -> float | None:
    return value / floor if value is not None and floor else None


def _more(value: float | None, floor: float | None) -> float | None:
    return None if value is None or floor is None else value - floor


@dataclass(frozen=True, slots=True)
class WorkCheck:
    """Whether what was compared did the same work, and all of it."""

    what: str
    passed: bool
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    name: str
    """The module in benchmarks/."""
    tables: Sequence[FigureTable]
    checks: Sequence[WorkCheck]
    options: Mapping[str, JsonValue]
    quick: bool
    """The figures of a quick run mean nothing: it only shows that the benchmark runs."""
    seconds: float
    machine: Machine

    def write(self, path: Path) -> None:
        path.write_bytes(_JSON.dump_json(self, indent=2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> BenchmarkResult:
        """Raises pydantic.ValidationError, OSError."""
        return _JSON.validate_json(path.read_bytes())


_JSON = TypeAdapter(BenchmarkResult)
